"""The captures that commands show: what the store has, and what still waits in the spool."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO

from diag.config import Settings
from diag.errors import CorruptCapture, NoSuchCapture, StoreError
from diag.model import Artifact, Capture, moment_of
from diag.spool import Spool, spools
from diag.spool.files import open_plain
from diag.upload import catalogue, pins
from diag.upload.stores import open_store

AMBIGUOUS = 100  # nobody reads more of what a prefix may mean


@dataclass(frozen=True, slots=True)
class Known:
    """A capture, and its folder in the spool while it is not stored yet."""

    capture: Capture
    waiting: Path | None = None
    pinned: bool = False

    def to_json(self) -> dict[str, Any]:
        """The manifest, whether the store has it, and whether it is pinned."""
        return {**self.capture.to_json(), "stored": self.waiting is None, "pinned": self.pinned}


class Captures:
    """Store and spool as one. A store that fails leaves what waits; `trouble` says why the rest is missing."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store(settings.store_url, settings.token)
        self.tenant = settings.tenant
        self._spools = spools(settings)
        self.trouble: StoreError | None = None

    def newest(self, since: datetime | None = None) -> Iterator[Known]:
        """All captures, newest first."""
        last, pinned = "", self._pinned()
        waiting = takewhile(
            lambda one: since is None or moment_of(one.capture.capture_id) >= since,
            heapq.merge(*map(_waiting, self._spools), key=lambda one: one.capture.capture_id, reverse=True),
        )
        # The stored one comes first where an upload is just under way.
        for one in heapq.merge(self._stored(since), waiting, key=lambda one: one.capture.capture_id, reverse=True):
            if one.capture.capture_id != last:
                yield replace(one, pinned=one.capture.capture_id in pinned)
            last = one.capture.capture_id

    def find(self, id_prefix: str) -> Known:
        """The one capture whose id starts like this. Raises NoSuchCapture, UsageError, and what the store raises."""
        wanted = id_prefix.strip().lower()
        waiting = [one for spool in self._spools if wanted for one in _starting_with(spool, wanted)]
        found = {one.capture.capture_id: one for one in waiting}
        try:
            stored = catalogue.matching(self.store, self.tenant, wanted)
        except StoreError:
            if len(waiting) != 1:
                raise
            stored = []
        found |= {one.capture_id: Known(one) for one in stored}
        if not found:
            raise NoSuchCapture(f"No capture has an id that starts with {id_prefix!r}.")
        if len(found) > 1:
            raise catalogue.ambiguous(id_prefix, [one.capture for one in found.values()])
        return next(iter(found.values()))

    def open(self, known: Known, artifact: Artifact) -> BinaryIO:
        """One file of a capture, verified. Raises CorruptCapture and what the store raises."""
        if known.waiting is not None:
            with suppress(CorruptCapture), open_plain(known.waiting / artifact.name) as source:
                return catalogue.verified(source, artifact)
            # It was stored meanwhile, or the store will say what is wrong.
        return catalogue.fetch(self.store, self.tenant, known.capture.capture_id, artifact.name)

    def pin_of(self, known: Known) -> pins.Pin | None:
        """The capture's pin, or None; of a store that does not answer nothing is known."""
        with suppress(StoreError):
            return pins.read(self.store, self.tenant, known.capture.capture_id)
        return None

    def _pinned(self) -> set[str]:
        try:
            return set(pins.listed(self.store, self.tenant))
        except StoreError as error:
            self.trouble = error
            return set()

    def _stored(self, since: datetime | None) -> Iterator[Known]:
        try:
            for capture in catalogue.newest(self.store, self.tenant, since=since):
                yield Known(capture)
        except StoreError as error:
            self.trouble = error


def _starting_with(spool: Spool, id_prefix: str) -> Iterator[Known]:
    return islice(_known(spool, spool.starting_with(id_prefix)), AMBIGUOUS)


def _waiting(spool: Spool) -> Iterator[Known]:
    return _known(spool, spool.newest())


def _known(spool: Spool, folders: Iterable[Path]) -> Iterator[Known]:
    for folder in folders:
        with suppress(CorruptCapture, NoSuchCapture):
            yield Known(spool.read(folder), folder)
