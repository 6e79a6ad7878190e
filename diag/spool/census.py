"""Counts a million captures without keeping anybody waiting for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from diag.spool.shelf import Shelf
from diag.spool.states import States

# A kernel stamps folders with a clock that stands for some milliseconds: what changed just before it was counted may
# have changed again since, under the same stamp.
CALM_NS = 2_000_000_000


class Census:
    """Counts buckets, and again only those that changed since. So the first count may be made without the lock."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._known: dict[tuple[Path, str], tuple[int, int]] = {}  # when it was changed, how many were in it

    def count(self, settled: Iterable[str] = ()) -> tuple[int, int]:
        """How many are written or wait, and how many are set aside. What is settled is gone, whatever is left of it."""
        gone = list(settled)
        pending = sum(map(self._on, self._states.pending)) + sum(1 for _ in self._states.drafts())
        pending -= sum(1 for _ in self._states.find_all(gone, "new", "pending"))
        aside = self._on(self._states.aside) - sum(1 for _ in self._states.find_all(gone, "quarantine"))
        return pending, aside

    def _on(self, shelf: Shelf) -> int:
        return sum(self._in(shelf, bucket) for bucket in shelf.buckets())

    def _in(self, shelf: Shelf, bucket: str) -> int:
        looked = time.time_ns()
        try:
            changed = os.stat(shelf.folder / bucket).st_mtime_ns  # noqa: PTH116  a million captures have many buckets
        except FileNotFoundError:
            return 0
        known = self._known.get((shelf.folder, bucket))
        if known is not None and known[0] == changed:
            return known[1]
        found = len(shelf.entries(bucket))
        if changed < looked - CALM_NS:
            self._known[shelf.folder, bucket] = (changed, found)
        return found
