"""Whether there is room for one more, and what has to go for it."""

from __future__ import annotations

import os
from pathlib import Path

from diag.errors import CorruptCapture
from diag.model import MANIFEST, Capture
from diag.spool.draft import read_capture
from diag.spool.files import DISK_FULL, NoRoom, folders, footprint
from diag.spool.order import Item, item, victims

MIB = 1024 * 1024
SLACK = 32  # one part in so many of the quota


class Room:
    """The space of a spool: its quota, and the free space that it leaves alone on its disk."""

    def __init__(self, root: Path, quota_bytes: int, floor_bytes: int, *, overhead_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self._root = root
        self._floor_bytes = floor_bytes
        self._overhead_bytes = overhead_bytes
        self._known: dict[str, dict[Path, Item]] = {}  # whole captures never change, so each is looked at once

    def items(self, state: str) -> list[Item]:
        """What is in a state, oldest first."""
        known = self._known.get(state, {})
        self._known[state] = {one: known.get(one) or _look(one) for one in folders(self._root, state)}
        return list(self._known[state].values())

    def short(self, needed: int) -> int:
        """How many bytes are lacking until the floor is kept."""
        return needed + self._floor_bytes - _free(self._root)

    def choose(self, needed: int, rank: int) -> tuple[list[Item], int]:
        """Walk through everything: what to evict so that `needed` bytes fit, and what is used then. Raises NoRoom."""
        completed, quarantined, pending = (self.items(state) for state in ("completed", "quarantine", "pending"))
        idle = [*completed, *quarantined]
        used = sum(one.size_bytes for one in (*idle, *pending)) + self._overhead_bytes
        used += sum(footprint(folder) for folder in folders(self._root, "new"))
        chosen = self._for_quota(used + needed - self.quota_bytes, idle, pending, rank)
        if chosen is None:
            limit = f"its quota is {self.quota_bytes // MIB} MB, and nothing in it is less urgent"
            raise NoRoom(f"The spool {self._root} cannot take {needed} bytes more: {limit}.", "quota")
        freed = sum(one.size_bytes for one in chosen)
        # The disk may be full of other people's files: nothing that waits is thrown away for that.
        left = [one for one in completed if one not in chosen]
        extra = victims(left, [], short_bytes=self.short(needed) - freed, rank=rank)
        if extra is None:
            limit = f"{_free(self._root) // MIB} MB are free, and {self._floor_bytes // MIB} MB are to stay free"
            raise NoRoom(f"The disk of the spool {self._root} cannot take {needed} bytes more: {limit}.", DISK_FULL)
        return [*chosen, *extra], used - freed - sum(one.size_bytes for one in extra)

    def _for_quota(self, over_bytes: int, idle: list[Item], pending: list[Item], rank: int) -> list[Item] | None:
        if over_bytes <= 0:
            return []
        # A little more than needed, so that a full spool is not walked through for each capture of a crash loop.
        ample = victims(idle, pending, short_bytes=over_bytes + self.quota_bytes // SLACK, rank=rank)
        return victims(idle, pending, short_bytes=over_bytes, rank=rank) if ample is None else ample


def _look(folder: Path) -> Item:
    capture: Capture | None
    try:
        capture = read_capture(folder / MANIFEST)
    except CorruptCapture:
        capture = None
    return item(folder, footprint(folder), capture)


def _free(root: Path) -> int:
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize
