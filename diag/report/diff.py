"""What is different between two reports, what tells most first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Values = dict[str, Any]
_MOST_VALUES = 5000
_LONGEST = 500
_DEEPEST = 6
_NOISE = 0.01  # two looks at one process differ by as much


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs; None where a report does not have it. `weight` says how much, within its section.

    Of two numbers it is the share by which the smaller one is less, of anything else 1.
    """

    section: str
    name: str
    before: str | None
    after: str | None
    weight: float

    def to_json(self) -> dict[str, Any]:
        """As `diag diff --json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


def differences(before: Json, after: Json) -> list[Difference]:
    """What differs, section by section in the order in which they tell, the largest difference of each first.

    Numbers that differ by less than a hundredth are left out.
    The reports may be anybody's: what has another shape than the schema says counts as not there.
    """
    return [one for title, values in SECTIONS.items() for one in _between(title, values(before), values(after))]


def _between(section: str, before: Values, after: Values) -> list[Difference]:
    found = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old != new and (weight := _weight(old, new)) >= _NOISE:
            found.append(Difference(section, name, _shown(old), _shown(new), weight))
    return sorted(found, key=lambda one: -one.weight)


def _weight(old: Any, new: Any) -> float:
    if not _is_number(old) or not _is_number(new):
        return 1.0
    smaller, larger = sorted((abs(old), abs(new)))
    return 1.0 if (old < 0) != (new < 0) or not larger else round(1 - smaller / larger, 4)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _verdict(report: Json) -> Values:
    told, ended = _mapping(report.get("verdict")), _mapping(report.get("exit"))
    values = {name: told.get(name) for name in ("cause", "sentence", "confidence")}
    values |= {name: report.get(name) for name in ("trigger", "level", "fingerprint")}
    return _known(values | {f"exit {name}": ended.get(name) for name in ("reason", "status", "signal")})


def _exception(report: Json) -> Values:
    values: Values = {}
    one: Any = report.get("exception")
    for depth in range(_DEEPEST):
        if not isinstance(one, dict):
            break
        prefix = "caused by " * depth
        values |= {f"{prefix}{name}": one.get(name) for name in ("type", "message")}
        values[f"{prefix}raised in"] = place_of_top(one.get("frames"))
        one = one.get("cause")
    return _known(values)


def _signal(report: Json) -> Values:
    told = _mapping(report.get("signal"))
    return _known({name: told.get(name) for name in ("name", "code", "sent", "faultAddress", "faultMapping")})


def _threads(report: Json) -> Values:
    """State and innermost frame by name: numbers of threads are never the same in two processes."""
    values: Values = {}
    seen: Counter[str] = Counter()
    threads = report.get("threads")
    for thread in threads[:_MOST_VALUES] if isinstance(threads, list) else ():
        if isinstance(thread, dict):
            name = _text(thread.get("name")) or "without a name"
            seen[name] += 1
            name += f" #{seen[name]}" if seen[name] > 1 else ""
            values |= {f"{name}: state": thread.get("state"), f"{name}: in": place_of_top(thread.get("frames"))}
    return _known(values)


def _resources(report: Json) -> Values:
    return {
        name: value
        for key in ("resourceUsage", "cgroup", "pythonHeap", "asyncio")
        for name, value in _flat(report, key)
    }


def _modules(report: Json) -> Values:
    modules = report.get("modules")
    found = [one for one in modules[:_MOST_VALUES] if isinstance(one, dict)] if isinstance(modules, list) else []
    return {_text(one.get("path")): _text(one.get("buildId")) or "loaded" for one in found}


def _process(report: Json) -> Values:
    header, instance = _mapping(report.get("header")), _mapping(report.get("instance"))
    names = ("commandLine", "cwd", "runtimeVersion", "arch", "osRelease", "host")
    values = {name: header.get(name) for name in names}
    values |= {f"component {name}": value for name, value in _mapping(header.get("componentVersions")).items()}
    return _known(values | {f"instance {name}": instance.get(name) for name in ("service", "name", "host", "runtime")})


SECTIONS: dict[str, Callable[[Json], Values]] = {
    "Verdict": _verdict,
    "Exception": _exception,
    "Signal": _signal,
    "Threads": _threads,
    "Memory, CPU, descriptors": _resources,
    "Limits": lambda report: dict(_flat(report, "userLimits")),
    "Environment": lambda report: dict(_flat(report, "environmentVariables")),
    "Process and system": _process,
    "Modules": _modules,
}


def _flat(report: Json, key: str) -> Iterator[tuple[str, Any]]:
    """An object's values with their names joined by dots, up to a limit."""
    waiting: list[tuple[str, Any]] = [("", report.get(key))]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        name, value = waiting.pop(0)
        if isinstance(value, dict) and name.count(".") < _DEEPEST:
            waiting[:0] = [(f"{name}.{inner}" if name else str(inner), one) for inner, one in value.items()]
        elif value is not None and name:
            yield name, value


def place_of_top(frames: Any) -> str | None:
    """The innermost frame of the application, or else of all: `total (app.py:88)`."""
    found = [one for one in frames[:_MOST_VALUES] if isinstance(one, dict)] if isinstance(frames, list) else []
    frame = next((one for one in found if one.get("inApp") is True), found[0] if found else None)
    if frame is None:
        return None
    file = _text(frame.get("file") or frame.get("module")).rpartition("/")[2]
    line = f":{_text(frame['line'])}" if frame.get("line") else ""
    return _text(frame.get("function")) + (f" ({file}{line})" if file else "")


def _known(values: Values) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
