"""Order in the queue: what is sent first, and what is like what."""

from __future__ import annotations

import heapq
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from diag.model import Capture
from diag.spool.files import BLOCK
from diag.spool.shelf import BUCKET_DIGITS, Entry, Shelf

RANKS = ("crash", "event", "report", "other")  # 0 is sent first and dropped last; each is a folder of `pending`
OTHER = RANKS.index("other")
BIG_BYTES = 256 * BLOCK
LOOK_EVERY_S = 1.0
LOOK_AT_MOST = 1000


def rank(kind: str) -> int:
    """The place of a kind among the RANKS."""
    return RANKS.index(kind) if kind in RANKS else OTHER


def likeness(capture: Capture | None) -> int:
    """Equal for captures of one kind and fingerprint; 0 where nobody can tell."""
    return zlib.crc32(f"{capture.kind}\0{capture.fingerprint or ''}".encode("utf-8", "replace")) if capture else 0


def newest_first(shelves: Sequence[Shelf]) -> Iterator[Path]:
    """All entries by age, read as far as they are asked for."""
    walks = (map(shelf.path, shelf.walk(newest_first=True)) for shelf in shelves)
    return heapq.merge(*walks, key=lambda path: path.name, reverse=True)


def in_turns(shelves: Sequence[Shelf]) -> Iterator[Path]:
    """All entries in the order in which they are sent, read as far as they are asked for.

    One shelf after the other, and in each small before big; the newest and the oldest take turns, so that after a long
    outage the store has both what just happened and less to wait for. What comes meanwhile is slipped in, one for one,
    so that it need not wait for a long backlog, and the backlog need not wait for ever.
    """
    newest = [next(shelf.walk(newest_first=True), "") for shelf in shelves]
    arrivals = _Arrivals(shelves, newest)
    for shelf, last in zip(shelves, newest, strict=True):
        for name in _by_size(shelf, last):
            yield shelf.path(name)
            if (late := arrivals.take()) is not None:
                yield late
    while (late := arrivals.take()) is not None:
        yield late


def _by_size(shelf: Shelf, last: str) -> Iterator[str]:
    with_big: list[str] = []

    def small(bucket: str) -> list[str]:
        names = [name for name in shelf.entries(bucket) if name <= last]
        fitting = [name for name in names if not _is_big(name)]
        if len(fitting) < len(names):
            with_big.append(bucket)
        return fitting

    def big(bucket: str) -> list[str]:
        return [name for name in shelf.entries(bucket) if name <= last and _is_big(name)]

    yield from _from_both_ends(shelf.buckets(), small)
    yield from _from_both_ends(sorted(with_big), big)


def _is_big(name: str) -> bool:
    return Entry.of(name).size_bytes > BIG_BYTES


def _from_both_ends(sorted_buckets: list[str], names_in: Callable[[str], list[str]]) -> Iterator[str]:
    """The newest, the oldest, the second newest, and so on, until they meet."""
    buckets = deque(sorted_buckets)
    old: deque[str] = deque()
    young: deque[str] = deque()
    while True:
        while buckets and not young:
            young.extend(names_in(buckets.pop()))
        if not young and not old:
            return
        yield (young or old).pop()
        while buckets and not old:
            old.extend(names_in(buckets.popleft()))
        if old or young:
            yield (old or young).popleft()


class _Arrivals:
    """What came after a moment, looked for now and then."""

    def __init__(self, shelves: Sequence[Shelf], newest: Sequence[str]) -> None:
        self._newest = dict(zip(shelves, newest, strict=True))
        self._waiting: deque[Path] = deque()
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def take(self) -> Path | None:
        """The next of them, or None."""
        if not self._waiting and time.monotonic() >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + LOOK_EVERY_S
        return self._waiting.popleft() if self._waiting else None

    def _look(self) -> None:
        for shelf, newest in self._newest.items():
            buckets = (bucket for bucket in shelf.buckets() if bucket >= newest[:BUCKET_DIGITS])
            newer = (name for bucket in buckets for name in shelf.entries(bucket) if name > newest)
            for name in islice(newer, LOOK_AT_MOST):
                self._waiting.append(shelf.path(name))
                self._newest[shelf] = name
