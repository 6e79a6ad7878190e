"""Keeping the index up with the store: agents on this machine write there without telling us."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from diag.errors import NoSuchObject, StoreError
from diag.model import Capture, now
from diag.upload import keys
from diag.upload.store import Store
from diag_server import hostile
from diag_server.config import ViewerConfig
from diag_server.entries import entry, report_of
from diag_server.errors import BadManifest, BadReport, TooLarge
from diag_server.index import write
from diag_server.index.rows import Entry
from diag_server.manifests import read_manifest

log = logging.getLogger(__name__)

BATCH = 100
RECENT_HOURS, DAYS_HOURS = 2, 48
# A capture's key tells when it began, and an agent that was cut off delivers late: older hours are looked at
# less often, and the whole store now and then.
DAYS_EVERY_S, ALL_EVERY_S = 60.0, 900.0


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


class Follower:
    """Indexes what is new in the store, at most once in `look_every_s`, by one thread at a time."""

    def __init__(
        self, store: Store, engine: Engine, config: ViewerConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._engine, self._config, self._clock = store, engine, config, clock
        self._looking = threading.Lock()
        self._unreadable: set[str] = set()
        self._looked_at = self._looked_days_at = self._looked_all_at = -1e9
        self.trouble = ""  # why the last look failed, for the pages to say

    def look(self) -> None:
        """Index what is new if the last look is too old; a look that another thread has under way is not waited for."""
        if self._clock() - self._looked_at < self._config.look_every_s or not self._looking.acquire(blocking=False):
            return
        try:
            self._look()
            self.trouble = ""
        except StoreError as error:
            self._note(f"The store cannot be listed. {error}")
        except DBAPIError as error:
            self._note(f"The index cannot be written: {error.orig}.")
        finally:
            self._looked_at = self._clock()
            self._looking.release()

    def sync(self, seen: Callable[[int], None] | None = None) -> None:
        """Bring the index in line with the whole store: what is new comes in, what is gone goes out.

        `seen` hears how many were indexed so far. Raises StoreError.
        """
        with self._looking:
            self._sync(seen)
            self._looked_all_at = self._looked_days_at = self._looked_at = self._clock()

    @property
    def looked_s_ago(self) -> float:
        """How old the last look into the store is."""
        return self._clock() - self._looked_at

    def index_one(self, capture: Capture) -> None:
        """Index a capture whose objects are all in the store."""
        write.add(self._engine, [self._entry(capture)])

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:  # once, not every second
            log.warning("%s", trouble)
        self.trouble = trouble

    def _look(self) -> None:
        started = self._clock()
        if started - self._looked_all_at >= ALL_EVERY_S:
            self._sync(None)
            self._looked_all_at = self._looked_days_at = started
        elif started - self._looked_days_at >= DAYS_EVERY_S:
            self._take_hours(hours_back(now(), DAYS_HOURS))
            self._looked_days_at = started
        else:
            self._take_hours(hours_back(now(), RECENT_HOURS))

    def _take_hours(self, hours: Iterable[str]) -> None:
        for hour in hours:
            folders = self._store.folders(f"v1/{self._config.tenant}/{hour}/")
            found = [
                name for name in (folder.rstrip("/").rpartition("/")[2] for folder in folders) if keys.valid_id(name)
            ]
            known = write.has(self._engine, found) if found else set()
            self._take([capture_id for capture_id in found if capture_id not in known])

    def _sync(self, seen: Callable[[int], None] | None) -> None:
        stored = set(self._manifests())
        indexed = write.ids(self._engine)
        write.remove(self._engine, indexed - stored)
        self._take(sorted(stored - indexed, reverse=True), seen)

    def _manifests(self) -> Iterator[str]:
        for found in self._store.objects(f"v1/{self._config.tenant}/"):
            parts = keys.parse(found.key)
            if parts and parts[2] == keys.MANIFEST:
                yield parts[1]

    def _take(self, capture_ids: list[str], seen: Callable[[int], None] | None = None) -> None:
        for start in range(0, len(capture_ids), BATCH):
            batch = [self._read(capture_id) for capture_id in capture_ids[start : start + BATCH]]
            write.add(self._engine, [one for one in batch if one])
            if seen:
                seen(start + len(batch))

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
