"""A transcript on the page: its text without any escape, and its events for the player. All of it is hostile input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diag.redact import unstyled
from diag_server import hostile
from diag_server.errors import BadReport

EVENTS_LIMIT = 50_000
TEXT_LIMIT = 1 << 20
PLAYED_LIMIT = 1 << 20
LONGEST_S = 7 * 86400.0
COLUMNS, ROWS = (1, 400), (1, 200)


@dataclass(frozen=True, slots=True)
class TranscriptView:
    """`events` is JSON for the player, empty where there is too much to play; `cut` says that text is missing."""

    command: str
    columns: int
    rows: int
    text: str
    lines: int
    cut: bool
    events: list[tuple[float, str, str]]
    seconds: float


def transcript_view(data: bytes) -> TranscriptView:
    """What the template shows of an asciicast v2 file. Raises BadReport."""
    first, *rest = data.split(b"\n", EVENTS_LIMIT + 1)
    header = hostile.mapping(hostile.parse_json(first))
    if header.get("version") != 2:
        raise BadReport("The transcript is no asciicast of version 2.")
    events = _events([line for line in rest[:EVENTS_LIMIT] if line])
    text = _readable("".join(event[2] for event in events if event[1] == "o"))
    cut = len(rest) > EVENTS_LIMIT or len(text) > TEXT_LIMIT
    return TranscriptView(
        command=hostile.text(header.get("command"), 2000),
        columns=_within(header.get("width"), 80, *COLUMNS),
        rows=_within(header.get("height"), 24, *ROWS),
        text=text[:TEXT_LIMIT],
        lines=text.count("\n"),
        cut=cut,
        events=[] if sum(len(event[2]) for event in events) > PLAYED_LIMIT else events,
        seconds=events[-1][0] if events else 0.0,
    )


def _events(lines: list[bytes]) -> list[tuple[float, str, str]]:
    """The events with times that never go back; what is none is left out."""
    found: list[tuple[float, str, str]] = []
    latest = 0.0
    for line in lines:
        event = _event(line)
        if event is not None:
            latest = max(latest, event[0])
            found.append((round(latest, 3), event[1], event[2]))
    return found


def _event(line: bytes) -> tuple[float, str, str] | None:
    try:
        event: Any = hostile.parse_json(line)
    except BadReport:
        return None  # the last line of a transcript whose writer was killed
    if not isinstance(event, list) or len(event) != 3 or event[1] not in ("o", "r") or not isinstance(event[2], str):
        return None
    moment = hostile.number(event[0])
    return None if moment is None else (min(max(float(moment), 0.0), LONGEST_S), event[1], event[2])


def _readable(output: str) -> str:
    """Line by line what was last to be seen on it."""
    lines = unstyled(output.replace("\r\n", "\n")).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _within(value: Any, otherwise: int, least: int, most: int) -> int:
    number = hostile.whole(value)
    return otherwise if number is None else min(max(number, least), most)
