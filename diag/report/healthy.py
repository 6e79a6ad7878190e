"""A death against the last look at the same process while it was well: what changed most comes first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diag.model import Capture
from diag.report import loose
from diag.report.diff import SECTIONS, place_of_top
from diag.report.reading import size

Json = Mapping[str, Any]
KIND, CAUSE = "report", "alive"
LOOKED_AT = 2000  # captures before the death, among which a healthy report is looked for
_BYTES_FLOOR, _COUNT_FLOOR, _SHARE_FLOOR = 1 << 20, 2, 0.1
_NAMED = 5
_DIGITS = re.compile(r"\d+")
# What is no number ranks among the numbers by how often it is the reason: a changed setting does, a new library may.
_SETTING, _VERSION, _STACK, _MODULES = 0.95, 0.9, 0.5, 0.4
_SIZES = {
    "memory in use": ("resourceUsage", "rss"),
    "memory in use at most": ("resourceUsage", "maxRss"),
    "address space": ("resourceUsage", "virtualMemory"),
    "swap": ("resourceUsage", "swap"),
    "memory of the control group": ("cgroup", "memory", "usage"),
    "memory limit": ("resourceUsage", "constrained_memory"),
}
_COUNTS = {
    "open files": ("resourceUsage", "openFiles"),
    "blocks on the Python heap": ("pythonHeap", "allocatedBlocks"),
}
_SETTINGS = {"Environment": _SETTING, "Limits": _SETTING, "Process and system": _VERSION}
_OF_THE_PROCESS = ("host", "instance host", "cwd", "commandLine")


@dataclass(frozen=True, slots=True)
class Changed:
    """One thing that changed; None where a report does not have it. `change` says it in short: `+340 %`, `new`, …"""

    what: str
    before: str | None
    after: str | None
    change: str
    weight: float

    def to_json(self) -> dict[str, Any]:
        """As `diag diff --json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


def is_healthy(capture: Capture) -> bool:
    """Whether this is a report of a process that lived and was not stuck."""
    return capture.kind == KIND and (capture.verdict or {}).get("cause") == CAUSE


def changed(healthy: Json, death: Json) -> list[Changed]:
    """What changed most between a live report and a death, by its share; small differences are left out.

    What only grows with a process's age is no change. Of a live report of several processes the one that is meant is
    compared. Both may be anybody's: what has another shape than the schema says counts as not there.
    """
    before = _same_process(healthy, death)
    found = [*_numbers(before, death), *_settings(before, death), *_stacks(before, death), *_modules(before, death)]
    return sorted(found, key=lambda one: -one.weight)


def _same_process(healthy: Json, death: Json) -> Json:
    """The process that died, or else another worker where it was one, or else the first."""
    workers = list(loose.mappings(healthy.get("workers")))
    pid = _pid(death)
    for one in (healthy, *workers):
        if pid is not None and _pid(one) == pid:
            return one
    is_worker = bool(loose.mapping(death.get("instance")).get("parent"))
    return workers[0] if is_worker and workers else healthy


def _pid(report: Json) -> Any:
    return loose.mapping(report.get("header")).get("processId")


def _numbers(before: Json, after: Json) -> Iterator[Changed]:
    for what, path in _SIZES.items():
        yield from _number(what, _at(before, path), _at(after, path), _BYTES_FLOOR)
    for what, path in _COUNTS.items():
        yield from _number(what, _at(before, path), _at(after, path), _COUNT_FLOOR)
    for what, key in (("threads", "threads"), ("requests in flight", "requests")):
        if not (key == "threads" and not after.get("threads")):  # nobody saw the stacks of this end
            old, new = (float(len(list(loose.mappings(one.get(key))))) for one in (before, after))
            yield from _number(what, old, new, _COUNT_FLOOR)


def _at(report: Json, path: tuple[str, ...]) -> float | None:
    value: Any = report
    for key in path:
        value = loose.mapping(value).get(key)
    return loose.number(value)


def _number(what: str, old: float | None, new: float | None, floor: float) -> Iterator[Changed]:
    if old is None or new is None or abs(new - old) < floor:
        return
    smaller, larger = sorted((abs(old), abs(new)))
    weight = 1 - smaller / larger
    if weight >= _SHARE_FLOOR:
        shown = size if floor == _BYTES_FLOOR else lambda value: f"{value:,.0f}"
        change = f"{(new - old) / old * 100:+,.0f} %" if old else "new"
        yield Changed(what, shown(old), shown(new), change, round(weight, 4))


def _settings(before: Json, after: Json) -> Iterator[Changed]:
    for section, weight in _SETTINGS.items():
        old, new = SECTIONS[section](before), SECTIONS[section](after)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name) and name not in _OF_THE_PROCESS:
                one, other = (None if value.get(name) is None else loose.text(value[name], 500) for value in (old, new))
                yield Changed(f"{section.lower()}: {name}", one, other, _kind(one, other), weight)


def _kind(before: str | None, after: str | None) -> str:
    return "new" if before is None else "gone" if after is None else "changed"


def _stacks(before: Json, after: Json) -> Iterator[Changed]:
    """Where the main thread stood, and threads whose like was not there."""
    old, new = _tops(before), _tops(after)
    for name in [name for name in new if name in old and old[name] != new[name]][:1]:
        yield Changed(f"thread {name}", old[name], new[name], "changed", _STACK)
    kinds = dict.fromkeys(_DIGITS.sub("N", name) for name in old)
    strangers = [name for name in new if _DIGITS.sub("N", name) not in kinds]
    if old and strangers:
        yield Changed("threads of another kind", None, _list(strangers), "new", _STACK)


def _tops(report: Json) -> dict[str, str]:
    threads = loose.mappings(report.get("threads"))
    return {
        loose.text(thread.get("name"), 100) or "without a name": place_of_top(thread.get("frames")) or "no stack"
        for thread in threads
    }


def _modules(before: Json, after: Json) -> Iterator[Changed]:
    old, new = SECTIONS["Modules"](before), SECTIONS["Modules"](after)
    if not old or not new:
        return
    rebuilt = [name for name in new if name in old and old[name] != new[name]]
    if rebuilt:
        yield Changed("modules with another build id", None, _list(rebuilt), "changed", _VERSION)
    for names, kind in (([n for n in new if n not in old], "new"), ([n for n in old if n not in new], "gone")):
        if names:
            listed = _list([name.rpartition("/")[2] for name in names])
            one, other = (None, listed) if kind == "new" else (listed, None)
            yield Changed(f"{len(names)} modules", one, other, kind, _MODULES)


def _list(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
