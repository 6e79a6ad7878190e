"""A profile as its page shows it: its summary, typed and bounded, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diag.errors import DiagError, StoreError
from diag.model import Capture
from diag_server import hostile, pictures, shown
from diag_server.errors import BadReport, TooLarge
from diag_server.follow import read_object
from diag_server.index import read
from diag_server.index.rows import CaptureRow, Filter
from diag_server.pictures import Icicle, Timeline
from diag_server.present import Fact
from diag_server.state import viewer

MOST_SUMMARY_BYTES = 1024 * 1024
ROWS = 20
OTHERS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: shares of the whole, from 0 to 1, and the value itself to read on hover."""

    name: str
    place: str
    in_app: bool
    own: float
    total: float
    exact: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class ProfileView:
    """What the page shows of a profile. `by_self` are functions, as are `by_total`."""

    facts: list[Fact]
    taken: list[Fact]
    by_self: list[Row]
    by_total: list[Row]
    modules: list[Row]
    threads: list[Row]
    requests: list[Row]
    icicle: Icicle | None
    timeline: Timeline | None
    measures: str


def content(capture: Capture) -> dict[str, Any]:
    """What the page of a profile needs."""
    told: Mapping[str, Any] = {}
    drawn: Mapping[str, Any] = {}
    trouble: list[str] = []
    try:
        told = stored_summary(capture)
    except (BadReport, TooLarge, StoreError) as error:
        trouble.append(f"The summary: {error}")
    try:
        drawn = viewer().workshop.facts("pictures", capture)
        told = told or viewer().workshop.facts("summary", capture)
    except DiagError as error:
        trouble.append(f"The profile itself: {error}")
    return {"profile": profile_view(told, drawn), "others": others(capture), "trouble": " ".join(trouble)}


def stored_summary(capture: Capture) -> Mapping[str, Any]:
    """The summary that was made with the capture; empty where there is none. Raises BadReport, TooLarge, StoreError."""
    artifact = next((one for one in capture.artifacts if one.kind == "summary"), None)
    if artifact is None:
        return {}
    key = viewer().key_of(capture, artifact.name)
    return hostile.mapping(hostile.parse_json(read_object(viewer().store, key, MOST_SUMMARY_BYTES)))


def others(capture: Capture) -> list[CaptureRow]:
    """The newest profiles to compare with: of the same instance, then of the same service."""
    found: dict[str, CaptureRow] = {}
    for wanted in (
        Filter(kind=capture.kind, instance=capture.instance.instance_id),
        Filter(kind=capture.kind, service=capture.instance.service),
    ):
        rows = read.find(viewer().engine, wanted, OTHERS + 1).captures
        found |= {row.capture_id: row for row in rows if row.capture_id not in found}
    found.pop(capture.capture_id, None)
    return list(found.values())[:OTHERS]


def profile_view(told: Mapping[str, Any], drawn: Mapping[str, Any]) -> ProfileView:
    """The page's view of a summary and of the pictures, both from outside; what is not there is empty."""
    kind = hostile.mapping(told.get("sample_type"))
    unit = hostile.text(kind.get("unit"), 40)
    return ProfileView(
        facts=list(_facts(told)),
        taken=list(_taken(told)),
        by_self=rows(told.get("by_self"), unit),
        by_total=rows(told.get("by_total"), unit),
        modules=rows(told.get("modules"), unit),
        threads=[_thread(row, unit) for row in _some(told.get("threads"))],
        requests=[_request(row, unit) for row in _some(told.get("requests"))],
        icicle=pictures.icicle(drawn.get("cells")),
        timeline=pictures.timeline(drawn.get("timeline")),
        measures=hostile.text(kind.get("name"), 40),
    )


def amount(value: Any, unit: str) -> str:
    """A value in the unit that its type has, as people read it."""
    number = hostile.finite(value)
    if number is None:
        return ""
    if unit == "nanoseconds":
        return shown.seconds(number / 1e9)
    return shown.size(number) if unit == "bytes" else f"{number:,.0f} {'' if unit == 'count' else unit}".strip()


def _some(value: Any) -> list[Mapping[str, Any]]:
    return list(hostile.mappings(value))[:ROWS]


def _share(value: Any) -> float:
    """A share as it can be drawn; differences have negative ones."""
    return max(-1.0, min(1.0, hostile.finite(value) or 0.0))


def rows(value: Any, unit: str) -> list[Row]:
    """Functions or modules as lines of a table."""
    return [
        Row(
            name=hostile.text(row.get("function") or row.get("module"), 500) or "?",
            place=hostile.text(row.get("file"), 1000),
            in_app=row.get("in_app") is True,
            own=_share(row.get("self_share")),
            total=_share(row.get("total_share")),
            exact=f"{amount(row.get('self'), unit)} itself, {amount(row.get('total'), unit)} in all",
        )
        for row in _some(value)
    ]


def _thread(row: Mapping[str, Any], unit: str) -> Row:
    process = hostile.text(row.get("process"), 200)
    ids = [
        f"{name} {hostile.text(row[key], 40)}"
        for key, name in (("pid", "pid"), ("thread_id", "thread"))
        if row.get(key)
    ]
    share = _share(row.get("share"))
    name = hostile.text(row.get("thread"), 200) or process or "thread"
    return Row(name, ", ".join(ids), False, share, share, amount(row.get("value"), unit), process)


def _request(row: Mapping[str, Any], unit: str) -> Row:
    share = _share(row.get("share"))
    request_id, trace_id = (hostile.text(row.get(key), 500) for key in ("request_id", "trace_id"))
    return Row(request_id, "", False, share, share, amount(row.get("value"), unit), trace_id)


def _facts(told: Mapping[str, Any]) -> Iterator[Fact]:
    """The headline: what is hottest, how much of it is whose."""
    found = hostile.mapping(told.get("facts"))
    names = {
        "hottest": ("Hottest", "self_share"),
        "hottest_in_app": ("Hottest of your code", "self_share"),
        "longest_in_app": ("Most below", "total_share"),
    }
    for key, (name, share) in names.items():
        one = hostile.mapping(found.get(key))
        if one and (key != "hottest_in_app" or one != found.get("hottest")):
            function, file = (hostile.text(one.get(part), 500) for part in ("function", "file"))
            place = f" ({file.rpartition('/')[2]})" if file else ""
            yield Fact(name, f"{shown.percent(_share(one.get(share)))} {function}{place}", file)
    shares = {
        "app_share": "In your code itself",
        "in_requests_share": "In requests",
        "idle_share": "Waiting",
        "gc_share": "Garbage collector",
    }
    for key, name in shares.items():
        if _share(found.get(key)) or key == "app_share":
            yield Fact(name, shown.percent(_share(found.get(key))))


def _taken(told: Mapping[str, Any]) -> Iterator[Fact]:
    """How it was taken, and what is missing of it."""
    taken = hostile.mapping(told.get("recording"))
    seconds = hostile.finite(taken.get("duration_s"))
    engine = " ".join(filter(None, (hostile.text(taken.get(key), 100) for key in ("engine", "version"))))
    rate = hostile.finite(taken.get("rate_hz"))
    pause = hostile.finite(hostile.mapping(taken.get("cost")).get("pause_s"))
    missing = [f"{hostile.text(taken.get(key), 40) or 0} {key}" for key in ("lost", "invalid")]
    facts = {
        "Samples": f"{hostile.text(told.get('samples'), 40)}" + (f" in {shown.seconds(seconds)}" if seconds else ""),
        "Missing": f"{', '.join(missing)} ({shown.percent(_share(taken.get('missing_share')))})" if taken else "",
        "Engine": engine,
        "Mode": hostile.text(taken.get("mode"), 40),
        "Rate": f"{rate:g} Hz" if rate else "",
        "Target stood still": shown.seconds(pause) if pause is not None else "",
        "Why this engine": hostile.text(told.get("why"), 500),
    }
    yield from (Fact(name, value) for name, value in facts.items() if value)
