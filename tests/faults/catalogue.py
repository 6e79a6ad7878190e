"""Every kind there is, read from kinds/: a file a family.

A file's own keys hold for all of its kinds; `prelude` is code that stands before the code of each. A kind with `each`
is as many kinds, with {each} replaced in all its texts; a record wanted several times says so with `times`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.fault import Fault, Left

RUNTIMES = ("node", "go")
FAMILIES = ("exceptions", "exits", "signals", "native", "limits", "processes", "servers", "hangs", "starts", *RUNTIMES)


def faults() -> tuple[Fault, ...]:
    """Every kind, in the order of the table."""
    return tuple(fault for family in FAMILIES for fault in _of(family))


def _of(family: str) -> Iterator[Fault]:
    common = tomllib.loads((Path(__file__).parent / "kinds" / f"{family}.toml").read_text())
    kinds, prelude = common.pop("kind"), common.pop("prelude", "")
    for kind in kinds:
        for each in kind.pop("each", [""]):
            yield _fault(family, prelude, _filled({**common, **kind}, each))


def _fault(family: str, prelude: str, kind: Mapping[str, Any]) -> Fault:
    values = dict(kind)
    left = _left(values.pop("left"))
    if "joined" in values:
        values["joined"] = _left(values["joined"])
    if "code" in values:
        values["code"] = prelude + values["code"]
    if "command" in values:
        values["command"] = tuple(values["command"])
    return Fault(family=family, left=left, **values)


def _left(entries: list[Mapping[str, Any]]) -> tuple[Left, ...]:
    return tuple(one for entry in entries for one in [Left(**_without_times(entry))] * entry.get("times", 1))


def _without_times(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "times"}


def _filled(value: Any, each: str) -> Any:
    if isinstance(value, str):
        return value.replace("{each}", each)
    if isinstance(value, list):
        return [_filled(one, each) for one in value]
    if isinstance(value, dict):
        return {name: _filled(one, each) for name, one in value.items()}
    return value
