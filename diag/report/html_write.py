"""A report as one HTML file that can be sent to somebody: it refers to nothing outside and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from diag import __version__
from diag.report import loose
from diag.report.html_parts import ROWS_LIMIT, facts, flat, fold, requests, section, stack, table
from diag.report.reading import MAPPING_COLUMNS, SIGNAL_FACTS, size
from diag.report.standing import doing
from diag.report.timeline_html import timeline_html
from diag.report.timeline_view import timeline_view

_CHAIN_LIMIT = 20
_THREADS_LIMIT = 200


def write(report: Mapping[str, Any], title: str) -> bytes:
    """The page: the answer first, then what it rests on, as the viewer shows it. `title` names it in a list."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = Template(Path(__file__).with_name("report.html").read_text("utf-8"))
    return template.substitute(
        title=escape(title),
        style=style,
        style_hash=f"sha256-{digest}",
        body="\n".join(filter(None, _body(report, title))),
        version=escape(__version__),
    ).encode("utf-8", "replace")


def file_name(report_name: str) -> str:
    """`report.….html` for `report.….json`."""
    return f"{report_name.removesuffix('.json')}.html"


def _body(report: Mapping[str, Any], title: str) -> Iterator[str]:
    recent, ended = loose.mapping(report.get("recent")), loose.mapping(report.get("exit"))
    yield _answer(report, title)
    yield _exception(report)
    crashed, others = _threads(report)
    yield from (section("Crashing thread", stack(one), detail=_thread_name(one)) for one in crashed)
    if view := timeline_view(report):
        yield section("The last minutes" if view.died else "The minutes before", timeline_html(view))
    yield _signal(loose.mapping(report.get("signal")))
    yield _last_look(loose.mapping(report.get("lastLook")))
    yield section("Requests in flight", requests(report.get("requests")))
    yield section(
        "Other threads" if crashed else "Threads",
        *(fold(_thread_name(one), stack(one), opened=not crashed and one is others[0]) for one in others),
    )
    stderr = loose.text(report.get("stderrTail"), 70_000)
    yield section("End of standard error", f"<pre>{escape(stderr)}</pre>" if stderr else "")
    rows = [[loose.text(one.get(key), 2000) for key in ("time", "kind", "message")] for one in _events(recent)]
    yield section("Before it", table(("Time", "Kind", "Message"), rows))
    yield section("Everything else", *_folds(report, recent, ended))


def _answer(report: Mapping[str, Any], title: str) -> str:
    verdict, instance = loose.mapping(report.get("verdict")), loose.mapping(report.get("instance"))
    header = loose.mapping(report.get("header"))
    evidence = verdict.get("evidence")
    lines = [loose.text(one, 2000) for one in evidence[:50]] if isinstance(evidence, list) else []
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    links = list(loose.mappings(report.get("links"), 20))
    who = facts(
        [
            ("request", ", ".join(filter(None, (loose.text(link.get("request_id"), 500) for link in links)))),
            ("trace", ", ".join(filter(None, (loose.text(link.get("trace_id"), 200) for link in links)))),
            ("instance", _pair(instance, "name", "service")),
            ("process", f"pid {loose.text(instance.get('pid'), 20)} on {loose.text(instance.get('host'), 300)}"),
            ("runtime", loose.text(instance.get("runtime"), 200)),
            ("time", loose.text(header.get("dumpEventTime"), 60)),
            ("command", " ".join(loose.text(word, 500) for word in _items(header.get("commandLine"))[:50])),
            ("capture", loose.text(report.get("captureId"), 100)),
            ("group", loose.text(report.get("fingerprint"), 100)),
        ]
    )
    badge = f'<p><span class="badge">{escape(loose.text(verdict.get("confidence"), 40))} confidence</span></p>'
    return (
        f'<header><p class="soft">{escape(loose.text(report.get("level"), 20))} {escape(title)}</p>'
        f"<h1>{escape(loose.text(verdict.get('sentence'), 4000) or title)}</h1>{badge}<ul>{listed}</ul>{who}</header>"
    )


def _exception(report: Mapping[str, Any]) -> str:
    return section("Exception", *_chain(report.get("exception"), "", 0))


def _chain(value: Any, relation: str, depth: int) -> Iterator[str]:
    raised = loose.mapping(value)
    if not raised or depth == _CHAIN_LIMIT:
        return
    kind, message = loose.text(raised.get("type"), 500), loose.text(raised.get("message"))
    name = f"{relation}{kind}: {message}" if message else f"{relation}{kind}"
    notes = "".join(
        f'<p class="soft">{escape(loose.text(note, 2000))}</p>' for note in _items(raised.get("notes"))[:50]
    )
    yield f"<h3>{escape(name)}</h3>{notes}{stack(raised)}" if not depth else fold(name, notes + stack(raised))
    yield from _chain(raised.get("cause"), "caused by ", depth + 1)
    if not raised.get("cause"):
        yield from _chain(raised.get("context"), "raised while handling ", depth + 1)
    for part in list(loose.mappings(raised.get("exceptions"), 50)):
        yield from _chain(part, "one of the group: ", depth + 1)


def _threads(report: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Those that it died in, where they say more than the exception, and the others."""
    threads = list(loose.mappings(report.get("threads"), _THREADS_LIMIT))
    said = _sites(report.get("exception"))
    crashed = [one for one in threads if one.get("crashed") is True and (not said or _sites(one) != said)]
    return crashed, [one for one in threads if one.get("crashed") is not True]


def _sites(holder: Any) -> list[tuple[Any, ...]]:
    """Which frames these are, whatever else is known of them."""
    frames = loose.mappings(loose.mapping(holder).get("frames"))
    return [tuple(loose.text(one.get(key), 1000) for key in ("function", "file", "line", "address")) for one in frames]


def _thread_name(thread: Mapping[str, Any]) -> str:
    gil = "holds the GIL" if thread.get("holdsGil") is True else ""
    words = [loose.text(one, 200) for one in (thread.get("name") or "thread", thread.get("threadId"), doing(thread))]
    return ", ".join(filter(None, (*words, gil)))


def _signal(signal: Mapping[str, Any]) -> str:
    names = {"name": "signal", **SIGNAL_FACTS}
    points = loose.mapping(signal.get("pointsTo"))
    registers = [
        (name, f"{loose.text(value, 40)} {loose.text(points.get(name), 300)}".strip())
        for name, value in list(loose.mapping(signal.get("registers")).items())[:64]
    ]
    rows = [
        [loose.text(one.get(key), 1000) for key in MAPPING_COLUMNS]
        for one in loose.mappings(signal.get("mappings"), 40)
    ]
    near = table(tuple(MAPPING_COLUMNS.values()), rows)
    return section(
        "Signal",
        facts((shown, loose.text(signal.get(key), 1000)) for key, shown in names.items()),
        f"<h3>Registers at the fault</h3>{facts(registers, 'registers')}" if registers else "",
        f"<h3>Memory around the fault</h3>{near}" if near else "",
    )


def _last_look(look: Mapping[str, Any]) -> str:
    parts = []
    for title, key, amount in (("Type", "types", "bytes"), ("Mapping", "mappings", "rss")):
        rows = [
            (loose.text(row.get("name") or row.get("kind"), 1000), size(loose.number(row.get(amount)) or 0.0))
            for row in loose.mappings(look.get(key), 200)
        ]
        parts.append(table((title, "Bytes"), rows))
    used, limit = (loose.number(look.get(key)) for key in ("used", "limit"))
    detail = f"{size(used)} of {size(limit)} in use" if used is not None and limit is not None else ""
    return section("Memory before the end", *parts, detail=detail)


def _folds(report: Mapping[str, Any], recent: Mapping[str, Any], ended: Mapping[str, Any]) -> Iterator[str]:
    yield fold("Requests that finished before", requests(recent.get("requests")))
    yield fold("How it ended", facts(flat(ended)) if ended.get("reason") != "alive" else "")
    titles = {
        "resourceUsage": "Memory and CPU",
        "cgroup": "Control group",
        "pythonHeap": "Python heap",
        "userLimits": "Limits",
        "header": "Process and system",
        "environmentVariables": "Environment",
        "asyncio": "Event loops",
        "node": "Node",
    }
    yield from (fold(title, facts(flat(report.get(key)))) for key, title in titles.items())
    for worker in loose.mappings(report.get("workers"), 100):
        stacks = (fold(_thread_name(one), stack(one)) for one in loose.mappings(worker.get("threads"), 50))
        pid = loose.text(loose.mapping(worker.get("header")).get("processId"), 20)
        yield fold(f"Other process of this instance, pid {pid}", "".join(stacks))
    keys = ("path", "buildId", "base", "end")
    rows = [
        [loose.text(one.get(key), 1000) for key in keys] for one in loose.mappings(report.get("modules"), ROWS_LIMIT)
    ]
    yield fold("Modules", table(("Path", "Build id", "From", "To"), rows))
    gaps = [
        (loose.text(one.get("section"), 200), loose.text(one.get("reason"), 2000))
        for one in loose.mappings(report.get("incomplete"))
    ]
    yield fold("What is missing, and why", facts(gaps))
    removed = [
        (loose.text(one.get("rule"), 200), f"{loose.text(one.get('count'), 20)} times")
        for one in loose.mappings(report.get("redactions"))
    ]
    yield fold("What was removed", facts(removed))
    yield fold("What it cost", facts(flat(report.get("cost"))))


def _events(recent: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(loose.mappings(recent.get("events"), 100))[::-1]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _pair(instance: Mapping[str, Any], *keys: str) -> str:
    return ", service ".join(dict.fromkeys(filter(None, (loose.text(instance.get(key), 300) for key in keys))))
