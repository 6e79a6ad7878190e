"""Order in the queue: what goes first, and what has to go when there is no room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diag.model import Capture

_RANKS = {"crash": 0, "event": 1, "report": 2}
OTHER = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A capture in the spool, as far as order is concerned. Ids sort by age."""

    capture_id: str
    folder: Path
    rank: int
    size_bytes: int
    fingerprint: str | None = None


def rank(kind: str) -> int:
    """0 is sent first and dropped last."""
    return _RANKS.get(kind, OTHER)


def item(folder: Path, size_bytes: int, capture: Capture | None) -> Item:
    """The item of a folder; of one whose manifest cannot be read, capture is None."""
    if capture is None:
        return Item(folder.name, folder, OTHER, size_bytes)
    return Item(folder.name, folder, rank(capture.kind), size_bytes, capture.fingerprint)


def in_order(items: Iterable[Item]) -> list[Item]:
    """Crashes first and profiles last, small before big, and among those of about one size the oldest first."""
    return sorted(items, key=lambda one: (one.rank, one.size_bytes.bit_length() // 4, one.capture_id))


def victims(idle: list[Item], pending: list[Item], *, short_bytes: int, rank: int) -> list[Item] | None:
    """What to remove so that `short_bytes` are freed for a capture of this rank; None where it cannot be done.

    What is idle goes first, in its order. Nothing that is waiting goes for something less urgent, and nothing goes
    where it would not be enough.
    """
    chosen: list[Item] = []
    for one in (*idle, *_least_wanted_first(pending, rank)):
        if short_bytes <= 0:
            break
        chosen.append(one)
        short_bytes -= one.size_bytes
    return chosen if short_bytes <= 0 else None


def _least_wanted_first(pending: list[Item], rank: int) -> Iterator[Item]:
    """Profiles before reports before crashes, oldest first; of one fingerprint the first and the last go late."""
    ends: dict[str, tuple[str, str]] = {}
    for one in sorted(pending, key=lambda one: one.capture_id):
        if one.fingerprint:
            ends[one.fingerprint] = (ends.get(one.fingerprint, (one.capture_id,))[0], one.capture_id)

    def repeated(one: Item) -> bool:
        return bool(one.fingerprint) and one.capture_id not in ends[one.fingerprint or ""]

    yield from sorted(
        (one for one in pending if one.rank >= rank), key=lambda one: (-one.rank, not repeated(one), one.capture_id)
    )
