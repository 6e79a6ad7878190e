"""A report as the capture page shows it: everything typed, bounded and named before a template sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from diag.errors import StoreError
from diag.model import Capture
from diag.report.reading import MAPPING_COLUMNS, SIGNAL_FACTS
from diag.report.timeline_html import timeline_html
from diag.report.timeline_view import timeline_view
from diag_server import hostile, shown, stacks, stacks_page
from diag_server.errors import BadReport, TooLarge
from diag_server.follow import read_report
from diag_server.state import viewer
from diag_server.well import healthy_before

FACTS_LIMIT = 400
RAW_LIMIT = 400_000  # characters of JSON that a page carries; more is fetched as a file
REQUESTS_LIMIT = 200
_SIZES = ("bytes", "memory", "rss", "maxrss", "swap", "usage", "peak", "limit", "virtualmemory")


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and a value; `exact` is the value to the last digit where `value` is rounded."""

    name: str
    value: str
    exact: str = ""


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """A request in flight or finished."""

    request_id: str
    trace_id: str
    span_id: str
    method: str
    path: str
    started: str
    age_s: float | None
    duration_s: float | None
    status: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why it died, in a sentence, how sure that is, and what speaks for it."""

    cause: str
    sentence: str
    confidence: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LastLook:
    """The memory shortly before its control group had none left: the largest types and mappings, and the growth."""

    before_s: float | None
    used: str
    limit: str
    samples: list[Fact]
    types: list[Fact]
    mappings: list[Fact]


@dataclass(frozen=True, slots=True)
class Worker:
    """Another process of the same instance, as the report saw it."""

    pid: str
    command: str
    threads: list[stacks.Thread]


@dataclass(frozen=True, slots=True)
class ReportView:
    """What the capture page shows of a report."""

    verdict: Verdict | None
    header: list[Fact]
    ending: list[Fact]
    signal: list[Fact]
    registers: list[Fact]
    mappings: list[tuple[str, ...]]
    raised: list[stacks.Raised]
    threads: list[stacks.Thread]
    loops: stacks_page.Loops
    python_stack: tuple[stacks.Run, ...]
    last_look: LastLook | None
    hang: stacks_page.StacksPage | None
    timeline: Markup | None
    requests: list[RequestSeen]
    recent: list[RequestSeen]
    events: list[Fact]
    sections: list[tuple[str, str, list[Fact]]]
    modules: list[Fact]
    environment: list[Fact]
    stderr: str
    workers: list[Worker]
    raw: str

    @property
    def crashed(self) -> list[stacks.Thread]:
        """The threads that the process died in, where they say more than the exception."""
        said = stacks.sites(self.raised[0].runs) if self.raised else None
        return [thread for thread in self.threads if thread.crashed and stacks.sites(thread.runs) != said]

    @property
    def others(self) -> list[stacks.Thread]:
        """All other threads."""
        return [thread for thread in self.threads if not thread.crashed]


def content(capture: Capture) -> dict[str, Any]:
    """What the page of a capture with a report needs."""
    trouble = ""
    try:
        report = read_report(viewer().store, viewer().config, capture)
    except (BadReport, TooLarge, StoreError) as error:
        report, trouble = {}, str(error)
    return {"report": report_view(capture, report), "trouble": trouble, "healthy": healthy_before(capture)}


def report_view(capture: Capture, report: Mapping[str, Any]) -> ReportView:
    """The report for the page; where there is none, everything is empty but what the manifest tells."""
    signal, recent = hostile.mapping(report.get("signal")), hostile.mapping(report.get("recent"))
    threads = stacks.threads(report)
    return ReportView(
        verdict=verdict(capture, report),
        header=list(_header(hostile.mapping(report.get("header")))),
        ending=_ending(hostile.mapping(report.get("exit"))),
        signal=list(_signal(signal)),
        registers=_registers(signal),
        mappings=[_mapped(one) for one in list(hostile.mappings(signal.get("mappings")))[:40]],
        raised=stacks.raised(report),
        threads=threads,
        loops=stacks_page.loops(report),
        python_stack=() if threads else stacks.runs(_python_frames(report)),
        last_look=_last_look(hostile.mapping(report.get("lastLook"))),
        hang=stacks_page.hang(report),
        timeline=_timeline(report),
        requests=_requests(report.get("requests")),
        recent=_requests(recent.get("requests"))[::-1],
        events=list(_events(recent.get("events"))),
        sections=list(_sections(report)),
        modules=list(_modules(report)),
        environment=facts(report.get("environmentVariables")),
        stderr=hostile.text(report.get("stderrTail"), 70_000) if isinstance(report.get("stderrTail"), str) else "",
        workers=[_worker(worker) for worker in list(hostile.mappings(report.get("workers")))[:100]],
        raw=raw(report),
    )


def verdict(capture: Capture, report: Mapping[str, Any]) -> Verdict | None:
    """The verdict that the report or, without one, the manifest tells."""
    told = hostile.mapping(report.get("verdict")) or dict(capture.verdict or {})
    sentence = hostile.text(told.get("sentence"))
    if not sentence:
        return None
    return Verdict(
        cause=hostile.text(told.get("cause"), 200),
        sentence=sentence,
        confidence=hostile.text(told.get("confidence"), 40),
        evidence=tuple(hostile.lines(told.get("evidence"))[:50]),
    )


def facts(value: Any, prefix: str = "") -> list[Fact]:
    """An object as rows, nested names joined with dots; sizes read as sizes."""
    rows: list[Fact] = []
    for name, one in hostile.mapping(value).items():
        if len(rows) >= FACTS_LIMIT:
            break
        if isinstance(one, dict) and one:
            rows += facts(one, f"{prefix}{name}.")[: FACTS_LIMIT - len(rows)]
        elif one is not None and one != "" and one != [] and one != {}:
            rows.append(_fact(f"{prefix}{name}", one))
    return rows


def raw(report: Mapping[str, Any]) -> str:
    """The report's JSON to read in the page; empty where it is too long for one."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    return text if len(text) <= RAW_LIMIT else ""


def _fact(name: str, value: Any) -> Fact:
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return Fact(name, ", ".join(hostile.text(item, 1000) for item in value[:200]))
    exact = hostile.text(value, 4000)
    last = name.lower().replace("_", "")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024 and last.endswith(_SIZES):
        return Fact(name, shown.size(value), exact)
    return Fact(name, exact)


def _header(header: Mapping[str, Any]) -> Iterator[Fact]:
    names = {
        "event": "event",
        "trigger": "trigger",
        "cwd": "working directory",
        "commandLine": "command line",
        "runtimeVersion": "runtime version",
        "componentVersions": "components",
        "arch": "architecture",
        "osName": "system",
        "osRelease": "kernel",
        "osVersion": "system version",
        "filename": "file name",
    }
    for key, name in names.items():
        value = header.get(key)
        if key == "commandLine":
            yield Fact(name, " ".join(hostile.lines(value)))
        elif isinstance(value, dict):
            yield Fact(name, ", ".join(f"{k} {hostile.text(v, 200)}" for k, v in list(value.items())[:50]))
        elif value:
            yield Fact(name, hostile.text(value, 2000))


def _ending(ended: Mapping[str, Any]) -> list[Fact]:
    return [] if ended.get("reason") == "alive" else facts(ended)


def _signal(signal: Mapping[str, Any]) -> Iterator[Fact]:
    number = hostile.text(signal.get("number"), 40)
    if signal.get("name"):
        yield Fact("signal", hostile.text(signal["name"], 40) + (f" ({number})" if number else ""))
    yield from (
        Fact(name, hostile.text(signal[key], 1000))
        for key, name in SIGNAL_FACTS.items()
        if signal.get(key) not in (None, "")
    )


def _registers(signal: Mapping[str, Any]) -> list[Fact]:
    """Each with what it points to."""
    points = hostile.mapping(signal.get("pointsTo"))
    registers = list(hostile.mapping(signal.get("registers")).items())[:64]
    return [Fact(name, hostile.text(value, 40), hostile.text(points.get(name), 500)) for name, value in registers]


def _mapped(one: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(hostile.text(one.get(key), 1000) for key in MAPPING_COLUMNS)


def _python_frames(report: Mapping[str, Any]) -> list[stacks.Frame]:
    return stacks.frames(hostile.mapping(report.get("pythonStack")).get("frames"))


def _requests(value: Any) -> list[RequestSeen]:
    return [_request(one) for one in list(hostile.mappings(value))[:REQUESTS_LIMIT]]


def _request(one: Mapping[str, Any]) -> RequestSeen:
    return RequestSeen(
        request_id=hostile.text(one.get("request_id"), 500),
        trace_id=hostile.text(one.get("trace_id"), 200),
        span_id=hostile.text(one.get("span_id"), 200),
        method=hostile.text(one.get("method"), 40),
        path=hostile.text(one.get("path"), 2000),
        started=hostile.text(one.get("started"), 60),
        age_s=hostile.number(one.get("age_s")),
        duration_s=hostile.number(one.get("duration_s")),
        status=hostile.text(one.get("status"), 20),
        thread_id=hostile.text(one.get("thread_id"), 40),
    )


def _last_look(look: Mapping[str, Any]) -> LastLook | None:
    if not look:
        return None
    return LastLook(
        before_s=hostile.number(look.get("before_s")),
        used=_bytes(look.get("used")),
        limit=_bytes(look.get("limit")),
        samples=[Fact(hostile.text(one.get("time"), 60), _bytes(one.get("used"))) for one in _few(look, "samples")],
        types=[
            Fact(hostile.text(row.get("name"), 1000), _bytes(row.get("bytes")), hostile.text(row.get("count"), 40))
            for row in _few(look, "types")
        ],
        mappings=[
            Fact(
                hostile.text(row.get("name"), 1000) or hostile.text(row.get("kind"), 40),
                _bytes(row.get("rss")),
                hostile.text(row.get("mappings"), 40),
            )
            for row in _few(look, "mappings")
        ],
    )


def _timeline(report: Mapping[str, Any]) -> Markup | None:
    view = timeline_view(report)
    return Markup(timeline_html(view)) if view else None  # it escapes every text


def _few(look: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return list(hostile.mappings(look.get(key)))[:200]


def _bytes(value: Any) -> str:
    return shown.size(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _events(value: Any) -> Iterator[Fact]:
    """Newest first: the time, and the rest in a line."""
    for one in list(hostile.mappings(value))[:-101:-1]:
        words = [hostile.text(one.get(name), 4000) for name in ("kind", "message")]
        rest = {k: v for k, v in one.items() if k not in ("time", "kind", "message") and v not in (None, "", [], {})}
        yield Fact(
            hostile.text(one.get("time"), 60), ": ".join(w for w in words if w), hostile.text(rest) if rest else ""
        )


def _sections(report: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Fact]]]:
    """(anchor, title, facts) of what is a table of names and values."""
    titles = {
        "resourceUsage": "Memory and CPU",
        "cgroup": "Control group",
        "pythonHeap": "Python heap",
    }
    for key, title in titles.items():
        rows = facts(report.get(key))
        if rows:
            yield key, title, rows
    limits = [
        Fact(name, f"{_limit(name, both.get('soft'))} (hard {_limit(name, both.get('hard'))})")
        for name, both in list(hostile.mapping(report.get("userLimits")).items())[:FACTS_LIMIT]
        if isinstance(both, dict)
    ]
    if limits:
        yield "userLimits", "Limits", limits


def _limit(name: str, value: Any) -> str:
    sized = isinstance(value, int) and ("bytes" in name or "blocks" in name)
    return shown.size(value) if sized else hostile.text(value, 40)


def _modules(report: Mapping[str, Any]) -> Iterator[Fact]:
    for module in list(hostile.mappings(report.get("modules")))[:2000]:
        span = "–".join(hostile.text(module.get(end), 40) for end in ("base", "end") if module.get(end))
        yield Fact(hostile.text(module.get("path"), 1000), hostile.text(module.get("buildId"), 100), span)


def _worker(worker: Mapping[str, Any]) -> Worker:
    header = hostile.mapping(worker.get("header"))
    return Worker(
        pid=hostile.text(header.get("processId"), 40),
        command=" ".join(hostile.lines(header.get("commandLine"))),
        threads=stacks.threads(worker),
    )
