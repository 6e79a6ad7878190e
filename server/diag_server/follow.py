"""Keeping the index up with the store: agents on this machine write there without telling us."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from diag.errors import NoSuchObject, StoreError
from diag.model import Capture, now
from diag.upload import keys, pins
from diag.upload.store import Store
from diag_server import hostile, walk
from diag_server.config import ViewerConfig
from diag_server.entries import entry, report_of
from diag_server.errors import BadManifest, BadReport, TooLarge
from diag_server.index import notes, write
from diag_server.index.notes import ROUTINE, SWEPT, WALKED, Walk
from diag_server.index.rows import Entry
from diag_server.index.upkeep import Mender
from diag_server.manifests import read_manifest

log = logging.getLogger(__name__)

BATCH = 100
PAGE_WAITS_FOR = 300  # captures; what more is new comes in behind the page's back
RECENT_HOURS, DAYS_HOURS = 2, 48
# A capture's key tells when it began, and an agent that was cut off delivers late: older hours are looked at
# less often, and the whole store now and then.
DAYS_EVERY_S, ALL_EVERY_S = 60.0, 900.0
KEEP_EVERY_S, AFTER_FAILURE_S = 1.0, 15.0
PINS_EVERY_S, PINS_LIMIT = 10.0, 20_000  # more pins than this are kept all the same, but not marked in lists


def read_object(store: Store, key: str, limit: int) -> bytes:
    """The object's bytes. Raises TooLarge, before reading more than `limit`, and what the store raises."""
    with store.open(key) as source:
        data = source.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"{key.rpartition('/')[2]} is larger than {limit} bytes.")
    return data


def read_report(store: Store, config: ViewerConfig, capture: Capture) -> Mapping[str, Any]:
    """The capture's report, empty where it has none. Raises BadReport, TooLarge and what the store raises."""
    artifact = report_of(capture)
    if artifact is None:
        return {}
    if artifact.size_bytes > config.max_report_bytes:
        raise TooLarge(f"The report is larger than the {config.max_report_bytes} bytes that are shown here.")
    key = keys.key(config.tenant, capture.capture_id, artifact.name)
    report = hostile.parse_json(read_object(store, key, config.max_report_bytes))
    if not isinstance(report, dict):
        raise BadReport("The report is not a JSON object.")
    return report


def hours_back(moment: datetime, hours: int) -> list[str]:
    """The key parts `yyyy/mm/dd/hh` of the last hours; the next one too, for agents whose clock is ahead."""
    return [f"{moment - timedelta(hours=back):%Y/%m/%d/%H}" for back in range(-1, hours)]


class _Ending(Exception):
    """The process is about to end: what is half done stays half done, and is taken up by the next."""


class Follower:
    """Indexes what is new in the store.

    A page looks into the newest hours, at most once in `look_every_s`, in one thread at a time. `keep` does what takes
    longer and belongs into a thread of its own. Neither does anything while nobody looks at pages.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        config: ViewerConfig,
        mender: Mender,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._engine, self._config, self._mender, self._clock = store, engine, config, mender, clock
        self._looking = threading.Lock()
        self._unreadable: set[str] = set()
        self._looked_at = -1e9
        self._somebody_looks = False
        self._ending = threading.Event()
        self._looked_at_pins = -1e9
        self.pinned: frozenset[str] = frozenset()  # as the last look found them
        self.trouble = ""  # why the last look failed, for the pages to say
        self.building: Walk | None = None  # the first or an asked-for reading of the store, while it is under way

    def look(self) -> None:
        """Index what is new if the last look is too old; a look that another thread has under way is not waited for."""
        self._somebody_looks = True
        if not self._due(self._looked_at, self._config.look_every_s) or not self._looking.acquire(blocking=False):
            return
        try:
            if self._failing_is_noted(self._look):
                self.trouble = ""
        finally:
            self._looked_at = self._clock()
            self._looking.release()

    def run(self) -> None:
        """Call `keep` again and again until `end`."""
        pause = 0.0
        while not self._ending.wait(pause):
            pause = KEEP_EVERY_S if self.keep() else AFTER_FAILURE_S

    def keep(self) -> bool:
        """Read the last days, or the whole store, where that is due and no other viewer of the index does it.

        Returns False where it failed, and the next try can wait.
        """
        return self._failing_is_noted(self._keep)

    def end(self) -> None:
        """Let `run` return soon: the process is about to end."""
        self._ending.set()

    def begin(self, *, again: bool = False) -> None:
        """See whether the store can be listed, before anybody waits for pages; `again` has everything read anew.

        Raises StoreError.
        """
        self._store.folders(f"v1/{self._config.tenant}/")
        if again:
            notes.reindex(self._engine)

    @property
    def looked_s_ago(self) -> float:
        """How old the last look into the store is."""
        return self._clock() - self._looked_at

    def forget_if_gone(self, capture_id: str) -> bool:
        """Take a capture out of the index that the store no longer has; False where it has it."""
        if self._store.stat(keys.key(self._config.tenant, capture_id, keys.MANIFEST)) is not None:
            return False
        write.remove(self._engine, [capture_id])
        return True

    def look_at_pins(self) -> None:
        """Know at once what was pinned just now."""
        self.pinned = frozenset(islice(pins.listed(self._store, self._config.tenant), PINS_LIMIT))
        self._looked_at_pins = self._clock()

    def index_one(self, capture: Capture) -> None:
        """Index a capture whose objects are all in the store."""
        write.add(self._engine, [self._entry(capture)])

    def _failing_is_noted(self, step: Callable[[], None]) -> bool:
        began = time.monotonic()
        try:
            step()
            return True
        except _Ending:
            return True
        except StoreError as error:
            self._note(f"The store cannot be listed. {error}")
        except DBAPIError as error:
            if self._mender.mend(error, began):
                return True
            self._note(f"The index cannot be written: {str(error.orig).strip()}.")
        return False

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:  # once, not every second
            log.warning("%s", trouble)
        self.trouble = trouble

    def _due(self, last: float, every_s: float) -> bool:
        return not 0 <= self._clock() - last < every_s  # a clock that was set back makes everything due

    def _look(self) -> None:
        self.building = self._announced(notes.walk(self._engine))
        if self._due(self._looked_at_pins, PINS_EVERY_S):
            self.look_at_pins()
        left = PAGE_WAITS_FOR
        for hour in hours_back(now(), RECENT_HOURS):
            new = self._new_in(hour)
            self._take(new[:left])
            left -= len(new[:left])

    def _keep(self) -> None:
        under_way = notes.walk(self._engine)
        if under_way is None and not self._somebody_looks:
            return
        walk_due = self._due(notes.done_at(self._engine, WALKED), ALL_EVERY_S)
        if not (under_way or walk_due or self._sweep_is_due()):
            return
        with notes.lease(self._engine) as mine:
            if not mine:
                return
            # The one who had the lease may just have finished.
            under_way = notes.walk(self._engine)
            if under_way or self._due(notes.done_at(self._engine, WALKED), ALL_EVERY_S):
                self._walk(under_way or Walk(ROUTINE))
            elif self._sweep_is_due():
                self._sweep()
        self._somebody_looks = False

    def _walk(self, under_way: Walk) -> None:
        started = self._clock()
        walk.run(self._store, self._engine, self._config.tenant, under_way, self._take_with_care)
        notes.set_done(self._engine, WALKED, started)
        notes.set_done(self._engine, SWEPT, max(started, notes.done_at(self._engine, SWEPT)))
        self.building = None

    def _take_with_care(self, capture_ids: list[str], again: bool) -> int:
        """As `_take`, leaving half of the time to the pages: one interpreter runs them and us. Raises _Ending."""
        taken = 0
        for start in range(0, max(1, len(capture_ids)), BATCH):
            began = time.monotonic()
            taken += self._take(capture_ids[start : start + BATCH], again)
            if self._sweep_is_due():
                self._sweep()
            if self._ending.wait(min(time.monotonic() - began, 0.5)):
                raise _Ending
        return taken

    def _sweep_is_due(self) -> bool:
        return self._somebody_looks and self._due(notes.done_at(self._engine, SWEPT), DAYS_EVERY_S)

    def _sweep(self) -> None:
        started = self._clock()
        for hour in hours_back(now(), DAYS_HOURS):
            self._take(self._new_in(hour))
            if self._ending.is_set():
                raise _Ending
        notes.set_done(self._engine, SWEPT, started)

    def _announced(self, under_way: Walk | None) -> Walk | None:
        return under_way if under_way and under_way.reason != ROUTINE else None

    def _new_in(self, hour: str) -> list[str]:
        found = walk.begun_in(self._store, self._config.tenant, hour)
        known = write.has(self._engine, found) if found else set()
        return [capture_id for capture_id in found if capture_id not in known]

    def _take(self, capture_ids: list[str], again: bool = False) -> int:
        """Read and index these; returns how many could be."""
        taken = 0
        for start in range(0, len(capture_ids), BATCH):
            batch = [one for one in map(self._read, capture_ids[start : start + BATCH]) if one]
            self._add(batch, again)
            taken += len(batch)
        return taken

    def _add(self, batch: list[Entry], again: bool) -> None:
        try:
            write.add(self._engine, batch, again=again)
        except (DataError, IntegrityError) as error:
            if len(batch) > 1:  # one that the database refuses must not keep the others out
                for one in batch:
                    self._add([one], again)
                return
            capture_id = batch[0].capture.capture_id
            log.warning("%s is left out, the index does not take it: %s", capture_id, error.orig)
            self._unreadable.add(keys.key(self._config.tenant, capture_id, keys.MANIFEST))

    def _read(self, capture_id: str) -> Entry | None:
        key = keys.key(self._config.tenant, capture_id, keys.MANIFEST)
        if key in self._unreadable:
            return None
        try:
            data = read_object(self._store, key, self._config.max_manifest_bytes)
            return self._entry(read_manifest(data, capture_id))
        except NoSuchObject:
            return None  # its manifest is still to come: without one a capture does not exist
        except (BadManifest, TooLarge) as error:
            log.warning("%s is left out: %s", key, error)
            self._unreadable.add(key)
            return None

    def _entry(self, capture: Capture) -> Entry:
        try:
            report = read_report(self._store, self._config, capture)
        except (BadReport, TooLarge, NoSuchObject) as error:
            log.warning("The report of %s is not searched: %s", capture.capture_id, error)
            report = {}
        return entry(capture, report)
