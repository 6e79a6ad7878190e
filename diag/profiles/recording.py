"""How a recording is written into formats that have no place for it: one line of text, `diag {…}`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from diag.model import Cost
from diag.profiles.headline import counted
from diag.profiles.model import Recording

_MARK = "diag "


def written(recording: Recording) -> str | None:
    """The line, with what is known as JSON; None where nothing is."""
    known = {name: value for name, value in _fields(recording).items() if value}
    return _MARK + json.dumps(known, sort_keys=True, ensure_ascii=False) if known else None


def found(lines: Iterable[str]) -> tuple[Recording, tuple[str, ...]]:
    """(the recording that one of these lines tells, the other lines)."""
    recording, others = Recording(), []
    for line in lines:
        told = _parsed(line) if recording == Recording() else None
        if told is None:
            others.append(line)
        else:
            recording = told
    return recording, tuple(others)


def sentence(recording: Recording) -> str:
    """What a page says: `py-spy 0.4.1, wall, 100 Hz; 3 samples lost, 2 invalid`; empty where nothing is known."""
    taken = [f"{recording.engine} {recording.version}".strip(), recording.mode]
    taken += [f"{recording.rate_hz:g} Hz"] if recording.rate_hz else []
    missing = [f"{counted(recording.lost, 'sample')} lost"] if recording.lost else []
    if recording.invalid:
        missing.append(f"{recording.invalid if missing else counted(recording.invalid, 'sample')} invalid")
    return "; ".join(part for part in (", ".join(filter(None, taken)), ", ".join(missing)) if part)


def _fields(recording: Recording) -> dict[str, object]:
    cost = {name: value for name, value in recording.cost.to_json().items() if value}
    return {
        "engine": recording.engine,
        "version": recording.version,
        "mode": recording.mode,
        "rate_hz": recording.rate_hz,
        "lost": recording.lost,
        "invalid": recording.invalid,
        "cost": cost,
    }


def _parsed(line: str) -> Recording | None:
    if not line.startswith(_MARK + "{"):
        return None
    try:
        told = json.loads(line[len(_MARK) :])
        recording = Recording(
            engine=str(told.get("engine", "")),
            version=str(told.get("version", "")),
            mode=str(told.get("mode", "")),
            rate_hz=float(told.get("rate_hz", 0.0)),
            lost=int(told.get("lost", 0)),
            invalid=int(told.get("invalid", 0)),
            cost=Cost(**{name: float(value) for name, value in told.get("cost", {}).items()}),
        )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # somebody else's comment, which is kept as it is
    return recording if written(recording) == line else None
