"""The captures that commands show: what the store has, and what still waits in the spool."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from diag.config import Settings
from diag.errors import CorruptCapture, NoSuchCapture, StoreError
from diag.model import Artifact, Capture, moment_of
from diag.spool import Spool
from diag.spool.files import open_plain
from diag.upload import catalogue
from diag.upload.stores import open_store


@dataclass(frozen=True, slots=True)
class Known:
    """A capture, and its folder in the spool while it is not stored yet."""

    capture: Capture
    waiting: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest, and whether the store has it."""
        return {**self.capture.to_json(), "stored": self.waiting is None}


class Captures:
    """Store and spool as one. A store that fails leaves what waits; `trouble` says why the rest is missing."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_store(settings.store_url, settings.token)
        self._tenant = settings.tenant
        self._spool = Spool.of(settings)
        self.trouble: StoreError | None = None

    def newest(self, since: datetime | None = None) -> Iterator[Known]:
        """All captures, newest first."""
        last = ""
        waiting = (one for one in self._waiting() if since is None or moment_of(one.capture.capture_id) >= since)
        # The stored one comes first where an upload is just under way.
        for one in heapq.merge(self._stored(since), waiting, key=lambda one: one.capture.capture_id, reverse=True):
            if one.capture.capture_id != last:
                yield one
            last = one.capture.capture_id

    def find(self, id_prefix: str) -> Known:
        """The one capture whose id starts like this. Raises NoSuchCapture, UsageError, and what the store raises."""
        wanted = id_prefix.strip().lower()
        waiting = [one for one in self._waiting() if wanted and one.capture.capture_id.startswith(wanted)]
        found = {one.capture.capture_id: one for one in waiting}
        try:
            stored = catalogue.matching(self._store, self._tenant, wanted)
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
        return catalogue.fetch(self._store, self._tenant, known.capture.capture_id, artifact.name)

    def _stored(self, since: datetime | None) -> Iterator[Known]:
        try:
            for capture in catalogue.newest(self._store, self._tenant, since=since):
                yield Known(capture)
        except StoreError as error:
            self.trouble = error

    def _waiting(self) -> list[Known]:
        found = []
        for folder in self._spool.pending():
            with suppress(CorruptCapture, NoSuchCapture):
                found.append(Known(self._spool.read(folder), folder))
        return sorted(found, key=lambda one: one.capture.capture_id, reverse=True)
