"""Memory as its page shows it: who holds it, what grows, what was allocated where; typed and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diag.errors import DiagError, StoreError
from diag.model import Capture
from diag_server import hostile, pictures, profile_page, shown
from diag_server.errors import BadReport, TooLarge
from diag_server.follow import read_object
from diag_server.index import read
from diag_server.index.rows import CaptureRow
from diag_server.pictures import Icicle
from diag_server.present import Fact
from diag_server.profile_page import Row
from diag_server.state import viewer
from diag_server.workshop import profile_of

MOST_BYTES = 8 * 1024 * 1024
MAPPINGS_LIMIT, TYPES_LIMIT, COLUMNS_LIMIT = 300, 300, 6
_COLUMNS = {
    "inuse_space": "In use, by where it was allocated",
    "growth_space": "Grown meanwhile, by where it was allocated",
    "peak_space": "At the peak, by where it was allocated",
    "alloc_space": "Allocated since its start, given back or not",
}
_PROCESS = {"rss": "Resident", "pss": "Its share of it", "private_dirty": "Its own", "swap": "In swap"}
_HEAP = {"used": "V8 heap in use", "total": "V8 heap in all", "external": "Held outside of V8's heap"}


@dataclass(frozen=True, slots=True)
class Held:
    """A line of a table: bytes, its share of the largest one from 0 to 1, and by how many bytes and objects it grew."""

    name: str
    kind: str
    size: int
    share: float
    count: int
    grown: int | None = None
    more: int = 0
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Allocations:
    """One column of a profile of memory: functions by their own bytes and with what they call."""

    title: str
    total: str
    by_self: list[Row]
    by_total: list[Row]


@dataclass(frozen=True, slots=True)
class MemoryView:
    """All that the page shows."""

    answer: list[str]
    facts: list[Fact]
    taken: list[Fact]
    note: str
    grew: bool
    allocations: list[Allocations]
    icicle: Icicle | None
    types: list[Held]
    grown_types: list[Held]
    largest: list[Held]
    objects: int
    mappings: list[Held]


def content(capture: Capture) -> dict[str, Any]:
    """What the page of a capture of memory needs."""
    told: Mapping[str, Any] = {}
    drawn: Mapping[str, Any] = {}
    trouble: list[str] = []
    try:
        told = _stored(capture)
    except (BadReport, TooLarge, StoreError) as error:
        trouble.append(f"The summary: {error}")
    has_profile = profile_of(capture) is not None
    if has_profile:
        try:
            drawn = viewer().workshop.facts("pictures", capture)
        except DiagError as error:
            trouble.append(f"The profile: {error}")
    view = memory_view(told, drawn)
    others = _others(capture) if has_profile else []
    return {"memory": view, "has_profile": has_profile, "others": others, "trouble": " ".join(trouble)}


def _others(capture: Capture) -> list[CaptureRow]:
    """Those of the newest that have a profile too."""
    rows = profile_page.others(capture)
    manifests = read.manifests(viewer().engine, [row.capture_id for row in rows])
    return [row for row in rows if profile_of(Capture.from_json(manifests[row.capture_id]))]


def _stored(capture: Capture) -> Mapping[str, Any]:
    artifact = next((one for one in capture.artifacts if one.kind == "memory"), None)
    if artifact is None:
        raise BadReport("It has none.")
    key = viewer().key_of(capture, artifact.name)
    return hostile.mapping(hostile.parse_json(read_object(viewer().store, key, MOST_BYTES)))


def memory_view(told: Mapping[str, Any], drawn: Mapping[str, Any]) -> MemoryView:
    """The page's view of a summary and of the pictures, both from outside; what is not there is empty."""
    mappings, types = (hostile.mapping(told.get(name)) for name in ("mappings", "types"))
    rows = _held(types.get("rows"), "bytes")
    grown = sorted((row for row in rows if (row.grown or 0) > 0), key=lambda row: -(row.grown or 0))
    return MemoryView(
        answer=[hostile.text(line, 500) for line in hostile.items(told.get("facts"))[:3]],
        facts=_facts(hostile.mapping(mappings.get("process")), hostile.mapping(told.get("heap"))),
        taken=_taken(told, mappings),
        note=hostile.text(told.get("note"), 500),
        grew="growth" in hostile.mapping(mappings.get("process")),
        allocations=[_allocations(one) for one in list(hostile.mappings(told.get("allocations")))[:COLUMNS_LIMIT]],
        icicle=pictures.icicle(drawn.get("cells")),
        types=rows,
        grown_types=_shares(grown, [row.grown or 0 for row in grown]),
        largest=_held(types.get("largest"), "bytes"),
        objects=hostile.whole(types.get("objects")) or 0,
        mappings=_held(mappings.get("groups"), "rss"),
    )


def _held(value: Any, measure: str) -> list[Held]:
    found = [_row(one, measure) for one in list(hostile.mappings(value))[:TYPES_LIMIT]]
    return _shares(found, [row.size for row in found])


def _row(one: Mapping[str, Any], measure: str) -> Held:
    growth = hostile.mapping(one.get("growth"))
    return Held(
        name=hostile.text(one.get("name"), 500) or "?",
        kind=hostile.text(one.get("kind"), 40),
        size=_whole(one.get(measure)),
        share=0.0,
        count=_whole(one.get("count") if "count" in one else one.get("length", one.get("mappings"))),
        grown=_whole(growth.get(measure)) if growth else None,
        more=_whole(growth.get("count")),
        sizes=tuple(_whole(one.get(name)) for name in ("pss", "private_dirty", "swap")),
    )


def _shares(rows: list[Held], sizes: list[int]) -> list[Held]:
    largest = max(sizes, default=0)
    return [
        replace(row, share=max(0.0, size / largest) if largest > 0 else 0.0)
        for row, size in zip(rows, sizes, strict=True)
    ]


def _whole(value: Any) -> int:
    found = hostile.whole(value)
    return found if found is not None and abs(found) < 1 << 63 else 0


def _allocations(one: Mapping[str, Any]) -> Allocations:
    kind = hostile.mapping(one.get("sample_type"))
    name, unit = (hostile.text(kind.get(part), 40) for part in ("name", "unit"))
    return Allocations(
        title=_COLUMNS.get(name, name),
        total=profile_page.amount(one.get("total"), unit),
        by_self=profile_page.rows(one.get("by_self"), unit),
        by_total=profile_page.rows(one.get("by_total"), unit),
    )


def _facts(process: Mapping[str, Any], heap: Mapping[str, Any]) -> list[Fact]:
    growth = hostile.mapping(process.get("growth"))
    found = []
    for name, words in _PROCESS.items():
        if name in process:
            grew = f" ({_signed(_whole(growth[name]))})" if _whole(growth.get(name)) else ""
            found.append(Fact(words, shown.size(_whole(process[name])) + grew))
    if "peak_rss" in process:
        found.append(Fact("Resident at its peak", shown.size(_whole(process["peak_rss"]))))
    grown = hostile.mapping(heap.get("growth"))
    for name, words in _HEAP.items():
        if name in heap:
            grew = f" ({_signed(_whole(grown[name]))})" if _whole(grown.get(name)) else ""
            found.append(Fact(words, shown.size(_whole(heap[name])) + grew))
    return found


def _taken(told: Mapping[str, Any], mappings: Mapping[str, Any]) -> list[Fact]:
    """How it was taken, and what that cost."""
    cost = hostile.mapping(told.get("cost"))
    seconds, read_s = (hostile.finite(value) for value in (told.get("duration_s"), mappings.get("read_s")))
    pause_s = hostile.finite(cost.get("pause_s"))
    facts = {
        "Engine": hostile.text(told.get("engine"), 100),
        "Looked for": shown.seconds(seconds) if seconds else "a moment",
        "Target stood still": shown.seconds(pause_s) if pause_s is not None else "",
        "Slowed": hostile.text(cost.get("slowdown"), 200),
        "Mappings read in": shown.seconds(read_s) if read_s is not None else "",
        "Why this engine": hostile.text(told.get("why"), 500),
    }
    return [Fact(name, value) for name, value in facts.items() if value]


def _signed(value: int) -> str:
    return f"{'+' if value >= 0 else '−'}{shown.size(abs(value))}"
