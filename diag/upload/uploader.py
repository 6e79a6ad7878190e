"""From the spool to the store: artifacts first, the manifest last, again until it works."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from itertools import islice
from operator import add
from pathlib import Path
from typing import Any

from diag.errors import (
    CorruptCapture,
    DiagError,
    NoSuchCapture,
    NotRedacted,
    SpoolUnwritable,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
)
from diag.model import MANIFEST, Capture, now
from diag.spool import Spool, id_of
from diag.spool.files import digest, open_folder, try_lock
from diag.upload import accounts, keys
from diag.upload.exit_check import checked
from diag.upload.parallel import in_parallel
from diag.upload.store import Store

BACKOFF_FIRST_S, BACKOFF_CAP_S = 1.0, 300.0
LONGEST_ASKED_S = 3600.0  # a Retry-After beyond this is a mistake of the store's
LARGE, LARGE_AT_ONCE = 16 * 1024 * 1024, 2  # one begins or ends while the parts of another are on their way
NEVER_PRUNED = timedelta(minutes=30)  # no rule is about what is younger than an hour; clocks differ
PATIENCE_S, LOOK_S = 10.0, 0.05
SETTLE_EVERY_S = 0.2  # the sync, and the looks into the spool's folders, are paid once for all that went meanwhile
GIVE_UP_AFTER = 3  # unexpected answers in a row: the store is in trouble, not the captures


@dataclass(frozen=True, slots=True)
class Drained:
    """What one pass through the queue did. `trouble` is why captures stay, None where none has to."""

    stored: int = 0
    failed: int = 0
    quarantined: int = 0
    trouble: DiagError | None = None

    def __add__(self, other: Drained) -> Drained:
        """What two passes did together."""
        return Drained(
            self.stored + other.stored,
            self.failed + other.failed,
            self.quarantined + other.quarantined,
            self.trouble or other.trouble,
        )

    def to_json(self) -> dict[str, Any]:
        """The pass as `diag flush --json` prints it."""
        return {
            "stored": self.stored,
            "failed": self.failed,
            "quarantined": self.quarantined,
            "trouble": str(self.trouble) if self.trouble else None,
        }


def drain(spool: Spool, store: Store, tenant: str, *, deadline: float | None) -> Drained:
    """Send what waits, the most urgent first, until it is done, the store fails, or `time.monotonic()` is `deadline`.

    Captures that the store will never take are quarantined. Repeating it is harmless.
    """
    return _Pass(spool, store, tenant, deadline).run()


class _Pass:
    """One way through the queue. The first capture goes alone: it finds out whether the store takes anything at all.

    The first trouble ends the handing out. What is on its way by then is finished or waits on.
    """

    def __init__(self, spool: Spool, store: Store, tenant: str, deadline: float | None) -> None:
        self._spool, self._store, self._tenant, self._deadline = spool, store, tenant, deadline
        self._stored = self._failed = self._quarantined = self._in_a_row = 0
        self._trouble: DiagError | None = None
        self._over = False
        self._large = threading.Semaphore(LARGE_AT_ONCE)

    def run(self) -> Drained:
        """Send what waits; see `drain`."""
        waiting = self._waiting()
        for at_once, folders in ((1, islice(waiting, 1)), (self._store.at_once, waiting)):
            for outcomes in in_parallel(self._try, folders, at_once, every_s=SETTLE_EVERY_S):
                self._settle(outcomes)
        return Drained(self._stored, self._failed, self._quarantined, self._trouble)

    def _waiting(self) -> Iterator[Path]:
        """What is to be tried next, as long as there is any use in it."""
        try:
            for folder in self._spool.pending():
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    sentence = f"The time was up before {self._store.url} had everything."
                    self._trouble = StoreUnreachable(sentence, "`diag flush` goes on.")
                    return
                yield folder
                if self._over:
                    return
        except SpoolUnwritable as error:
            self._trouble = error

    def _try(self, folder: Path) -> _Outcome:
        """What became of one capture. Only a defect of ours raises."""
        if self._over:  # taken in advance, before the trouble came
            return _Outcome(id_of(folder))
        outcome = self._send(folder)
        if outcome.trouble is not None:
            # It may be this capture alone, and the next may go through.
            self._in_a_row += 1
            self._over = self._over or self._in_a_row >= GIVE_UP_AFTER
        elif outcome.stored:
            self._in_a_row = 0
        return outcome

    def _send(self, folder: Path) -> _Outcome:
        try:
            with _claimed(folder) as ours, self._large if _size(folder) > LARGE else nullcontext():
                return _Outcome(id_of(folder), send(self._spool, self._store, self._tenant, folder) if ours else None)
        except (NoSuchCapture, FileNotFoundError):
            return _Outcome(id_of(folder))  # another process was faster
        except (StoreUnreachable, StoreRefused) as error:
            self._over = True
            return _Outcome(id_of(folder), trouble=error)
        except (StoreError, SpoolUnwritable) as error:
            return _Outcome(id_of(folder), trouble=error)
        except OSError as error:
            sentence = f"The spool cannot read {folder}: {error.strerror or error}."
            return _Outcome(id_of(folder), trouble=SpoolUnwritable(sentence))

    def _settle(self, outcomes: list[_Outcome]) -> None:
        """Count what came of some captures, and let the spool know all at once, which costs one sync."""
        try:
            self._spool.stored(*(one.capture_id for one in outcomes if one.stored))
        except SpoolUnwritable as error:
            self._over = True  # what goes now could not be noted either, and would go again
            outcomes = [replace(one, stored=None, trouble=error) if one.stored else one for one in outcomes]
        for one in outcomes:
            if one.trouble is not None:
                self._failed, self._trouble = self._failed + 1, one.trouble
            elif one.stored:
                self._stored += 1
            elif one.stored is False:
                self._quarantined += 1


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`stored` is False for what was quarantined, and None for what was left alone or has failed."""

    capture_id: str
    stored: bool | None = None
    trouble: DiagError | None = None


def _size(folder: Path) -> int:
    """How large it is; 0 where nobody may look, which is said when it is read."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except PermissionError:
        return 0


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether nobody else is sending this capture; nobody does while the context lasts."""
    try:
        descriptor = open_folder(folder)
    except PermissionError:
        yield True  # so nobody can send it, and reading it says what is wrong
        return
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def drain_all(spools: Iterable[Spool], store: Store, tenant: str, *, deadline: float | None) -> Drained:
    """Drain one spool after the other; what keeps one of them from it need not keep the next."""
    return reduce(add, (drain(spool, store, tenant, deadline=deadline) for spool in spools), Drained())


def drain_out(spools: Sequence[Spool], store: Store, tenant: str, *, deadline: float | None) -> Drained:
    """Drain all, and wait for what another diag is sending just now; what it leaves is sent here.

    Whoever asked for this wants to know it stored. A sender that gets nowhere is waited for PATIENCE_S.
    """
    drained = drain_all(spools, store, tenant, deadline=deadline)
    left, until = _left(spools), time.monotonic() + PATIENCE_S
    while left and drained.trouble is None and time.monotonic() < min(until, deadline or until):
        time.sleep(LOOK_S)
        drained += drain_all(spools, store, tenant, deadline=deadline)
        if (fewer := _left(spools)) < left:
            left, until = fewer, time.monotonic() + PATIENCE_S
    return drained


def _left(spools: Iterable[Spool]) -> int:
    """How many captures wait, or are being sent; of a spool that cannot be read, none."""
    count = 0
    for spool in spools:
        with suppress(SpoolUnwritable):
            count += sum(1 for _ in spool.pending())
    return count


def send(spool: Spool, store: Store, tenant: str, folder: Path) -> bool:
    """Put one capture into the store; False where it was quarantined instead.

    Raises StoreError, NoSuchCapture, SpoolUnwritable.
    """
    try:
        _put(spool, store, tenant, folder)
    except (CorruptCapture, NotRedacted, StoreConflict, StoreRejected) as error:
        if not folder.is_dir():
            raise NoSuchCapture(f"{id_of(folder)} is not in the spool any more.") from error
        spool.quarantine(id_of(folder), str(error))
        return False
    return True


def _put(spool: Spool, store: Store, tenant: str, folder: Path) -> None:
    capture = checked(spool, folder)
    for one in capture.artifacts:
        key = keys.key(tenant, capture.capture_id, one.name)
        size, sha256, kind = one.size_bytes, one.sha256, one.content_type
        store.put(key, folder / one.name, size_bytes=size, sha256=sha256, content_type=kind)
    key = keys.key(tenant, capture.capture_id, MANIFEST)
    size, sha256 = digest(folder / MANIFEST)
    store.put(key, folder / MANIFEST, size_bytes=size, sha256=sha256, content_type="application/json")
    if now() - keys.moment_of(capture.capture_id) > NEVER_PRUNED:
        _check_all_there(store, tenant, capture, size)


def _check_all_there(store: Store, tenant: str, capture: Capture, manifest_bytes: int) -> None:
    """Raise StoreError unless all of it is there, after the manifest was put.

    So a removal that passed between is seen (removal.py), and everything goes again.
    """
    for name, size in ((MANIFEST, manifest_bytes), *((one.name, one.size_bytes) for one in capture.artifacts)):
        found = store.stat(keys.key(tenant, capture.capture_id, name))
        if found is None or found.size_bytes != size:
            raise StoreError(f"{store.url} took {name} of {capture.capture_id} and does not have it.")


class Uploader:
    """The agent's background loop. It idles without waking up, but for an account that is due, and never raises."""

    def __init__(self, spool: Spool, store: Store, tenant: str) -> None:
        self._spool, self._store, self._tenant = spool, store, tenant
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="diag-uploader", daemon=True)
        self._account_due_s: float | None = None
        self.trouble: DiagError | None = None
        self.failures: Counter[str] = Counter()  # passes that ended early, by what ended them
        self.stored = 0

    def start(self) -> None:
        """Start with what waits already."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the spool."""
        self._woken.set()

    def stop(self, deadline_s: float) -> None:
        """Go on for at most so long with what waits, then let go; what is left waits in the spool."""
        self._deadline = time.monotonic() + deadline_s
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        attempt = 0
        while True:
            self._woken.wait(self._account_due_s)
            self._woken.clear()
            stopping = self._stopping.is_set()
            attempt = 0 if self._pass() else attempt + 1
            if stopping:
                return
            if attempt:
                # A capture that comes meanwhile does not cut this short: the store has trouble, and it needs time.
                self._stopping.wait(pause_s(attempt, self.trouble))
                self._woken.set()

    def _pass(self) -> bool:
        try:
            drained = drain(self._spool, self._store, self._tenant, deadline=self._deadline)
            last = self._stopping.is_set()
            self._account_due_s = accounts.tell(self._spool, self._store, self._tenant, drained.trouble, last=last)
        except Exception as error:  # noqa: BLE001 - the agent goes on whatever happens here, and nothing is lost: it waits
            self.failures[type(error).__name__] += 1
            self.trouble = None
            return False
        self.stored += drained.stored
        self.trouble = drained.trouble
        if drained.trouble:
            self.failures[type(drained.trouble).__name__] += 1
        return drained.trouble is None


def backoff_s(attempt: int) -> float:
    """How long to wait after so many failures: exponential, with full jitter, so that many agents spread out."""
    return random.uniform(0.1, min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** min(attempt - 1, 16)))


def pause_s(attempt: int, trouble: DiagError | None) -> float:
    """How long to leave a store alone: as long as it asks for at least, and long where it refuses our credentials."""
    if isinstance(trouble, StoreRefused):
        return BACKOFF_CAP_S
    asked_s = trouble.retry_after_s if isinstance(trouble, StoreError) else None
    return max(backoff_s(attempt), min(asked_s or 0.0, LONGEST_ASKED_S))
