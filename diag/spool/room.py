"""Whether there is room for one more, and what has to go for it."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from diag.config import MIB
from diag.spool.files import DISK_FULL, NoRoom, folders, footprint
from diag.spool.order import RANKS
from diag.spool.shelf import Entry, Shelf
from diag.spool.states import States

SLACK = 32  # one part in so many of the quota
MANY = 1024  # so many go at most for the sake of the next ones
_SLOTS = 1 << 18  # two likenesses in one slot are taken for one: that can only cost an end


class Victim(NamedTuple):
    """A folder that is to go. One that is not `waiting` is no loss."""

    folder: Path
    size_bytes: int
    waiting: bool = True


class Tally:
    """How many of each likeness wait, and what they take: in a megabyte, however many there are."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.size_bytes = 0
        self._counts = array("I", bytes(4 * _SLOTS))
        for name in names:
            self.add(Entry.of(name))

    def add(self, entry: Entry) -> int:
        """Count one more; returns how many of its likeness there are now."""
        self.size_bytes += entry.size_bytes
        self._counts[entry.likeness % _SLOTS] += 1
        return self._counts[entry.likeness % _SLOTS]

    def count(self, entry: Entry) -> int:
        """How many are like this one."""
        return self._counts[entry.likeness % _SLOTS]


@dataclass(slots=True)
class _Line:
    """Captures of equal value, oldest first: as many as can be needed of them, not more."""

    needed_bytes: int
    ample_bytes: int
    victims: list[Victim] = field(default_factory=list)
    size_bytes: int = 0

    def offer(self, shelf: Shelf, name: str, size_bytes: int) -> None:
        """Queue up, while more could be needed."""
        if self.size_bytes < self.needed_bytes or (self.size_bytes < self.ample_bytes and len(self.victims) < MANY):
            self.victims.append(Victim(shelf.path(name), size_bytes))
            self.size_bytes += size_bytes


class Room:
    """The space of a spool: its quota, and the free space that it leaves alone on its disk."""

    def __init__(self, root: Path, quota_bytes: int, floor_bytes: int, *, overhead_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self._root = root
        self._floor_bytes = floor_bytes
        self._overhead_bytes = overhead_bytes

    def fits(self, used_bytes: int, needed: int) -> bool:
        """Whether so much may be used, of which `needed` bytes are still to be written."""
        return used_bytes <= self.quota_bytes and self._short(needed) <= 0

    def used(self, tally: Tally) -> int:
        """What is used in all, with so much on the shelves."""
        small = sum(footprint(folder) for state in ("new", "completed") for folder in folders(self._root, state))
        return self._overhead_bytes + tally.size_bytes + small

    def victims(self, states: States, tally: Tally, used_bytes: int, needed: int, rank: int) -> list[Victim]:
        """Walk through all names: what has to go so that `needed` bytes fit for a capture of this rank. Raises NoRoom.

        What is idle goes first. Of what waits, repeats go before the first and the last of a likeness, then profiles
        before reports before crashes, the oldest first. Nothing that waits goes for something less urgent, and nothing
        goes where it would not be enough.
        """
        over = used_bytes + needed - self.quota_bytes
        limits = (over, over + self.quota_bytes // SLACK)
        idle, repeats, ends = _Line(*limits), [_Line(*limits) for _ in RANKS], [_Line(*limits) for _ in RANKS]
        stored = [Victim(folder, footprint(folder), waiting=False) for folder in folders(self._root, "completed")]
        for name in states.aside.walk():
            idle.offer(states.aside, name, Entry.of(name).size_bytes)
        seen = Tally()
        for own, shelf in enumerate(states.pending):
            for name in shelf.walk() if own >= rank else ():
                entry = Entry.of(name)
                before = seen.add(entry) - 1
                repeated = 0 < before < tally.count(entry) - 1
                (repeats if repeated else ends)[own].offer(shelf, name, entry.size_bytes)
        waiting = (line.victims for line in (idle, *reversed(repeats), *reversed(ends)))
        return self._choose(stored, waiting, over, needed)

    def _short(self, needed: int) -> int:
        return needed + self._floor_bytes - _free(self._root)

    def _choose(self, stored: list[Victim], others: Iterable[list[Victim]], over: int, needed: int) -> list[Victim]:
        # A little more than needed, so that a full spool is not walked through for each capture of a crash loop.
        ample = self.quota_bytes // SLACK if over > 0 else 0
        chosen, freed = _first(chain(stored, *others), over, ample)
        if freed < over:
            limit = f"its quota is {self.quota_bytes // MIB} MB, and nothing in it is less urgent"
            raise NoRoom(f"The spool {self._root} cannot take {needed} bytes more: {limit}.", "quota")
        # The disk may be full of other people's files: nothing that waits is thrown away for that.
        short = self._short(needed) - freed
        extra, more = _first(stored[len(chosen) :], short, 0)
        if more < short:
            limit = f"{_free(self._root) // MIB} MB are free, and {self._floor_bytes // MIB} MB are to stay free"
            raise NoRoom(f"The disk of the spool {self._root} cannot take {needed} bytes more: {limit}.", DISK_FULL)
        return [*chosen, *extra]


def _first(victims: Iterable[Victim], over: int, ample: int) -> tuple[list[Victim], int]:
    """From the front until `over` bytes are freed, and some more where there are."""
    chosen: list[Victim] = []
    freed = 0
    for one in victims:
        if freed >= over and (freed >= over + ample or len(chosen) >= MANY):
            break
        chosen.append(one)
        freed += one.size_bytes
    return chosen, freed


def _free(root: Path) -> int:
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize
