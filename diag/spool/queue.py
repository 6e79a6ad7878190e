"""The spool: takes captures in, hands them to the uploader in order, and accounts for every one."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from diag.config import MIB, Settings
from diag.errors import CorruptCapture, DiagError, NoSuchCapture, SpoolUnwritable
from diag.model import MANIFEST, Capture, moment_of, now, valid_id, valid_name
from diag.spool.account import Account
from diag.spool.draft import MOVED, Draft
from diag.spool.files import (
    BLOCK,
    blocks,
    digest,
    footprint,
    is_folder,
    locked,
    names,
    open_folder,
    reason_of,
    try_lock,
    write_file,
    writing,
)
from diag.spool.ledger import FOOTPRINT, Book, Ledger
from diag.spool.manifest import DRAFT, read_capture
from diag.spool.order import OTHER, in_turns, likeness, newest_first, rank
from diag.spool.room import Room, Tally, Victim
from diag.spool.shelf import Entry, id_of
from diag.spool.states import States
from diag.spool.usage import Usage

COMPLETED_KEPT = 200
AT_A_TIME = 64  # so many go while the lock is held, and their lines fit into what the ledger has in reserve
REASON = ".reason"
_DRAFT_BYTES = 4 * BLOCK  # folder, draft, manifest
T = TypeVar("T")


class Spool:
    """The spool in a folder, which is made when the first capture comes.

    Every method raises SpoolUnwritable where the disk says no, and nothing else of its kind.
    """

    def __init__(self, root: Path, quota_bytes: int, floor_bytes: int) -> None:
        self.root = root
        self._states = States(root)
        self._room = Room(root, quota_bytes, floor_bytes, overhead_bytes=FOOTPRINT + BLOCK)
        self._ledger = Ledger(root)
        self._usage = Usage(root / "usage")

    @classmethod
    def of(cls, settings: Settings) -> Spool:
        """The first spool that the settings name."""
        return cls(settings.spool_dir, settings.spool_quota_mb * MIB, settings.spool_floor_mb * MIB)

    def begin(self, capture: Capture, *, moves: bool = False) -> Draft:
        """Start writing a capture. Raises SpoolUnwritable; the loss is counted where that can be done.

        Where it `moves`, a refusal is no loss but takes the reception back: the caller begins it in another spool.
        """
        if not valid_id(capture.capture_id):
            raise DiagError(f"{capture.capture_id!r} is no capture id.", "")
        with self._locked(make=True) as book:
            folder, descriptor = self._open_new(book, capture.capture_id, moves)
        draft = Draft(self, folder, descriptor, rank(capture.kind), moves=moves)
        try:
            draft.start(capture, _DRAFT_BYTES)
        except SpoolUnwritable:
            draft.abandon()
            raise
        return draft

    def pending(self) -> Iterator[Path]:
        """The folders of the captures that wait, the most urgent first, read as far as they are asked for.

        Others add and remove meanwhile: `load` says of each whether it is still there. Each is given once.
        """
        with writing(self.root):
            if self._is_there():
                yield from in_turns(self._states.pending)

    def newest(self) -> Iterator[Path]:
        """The folders of the captures that wait, the newest first, read as far as they are asked for."""
        with writing(self.root):
            if self._is_there():
                yield from newest_first(self._states.pending)

    def starting_with(self, id_prefix: str) -> Iterator[Path]:
        """The folders of the captures that wait and whose ids start like this."""
        with writing(self.root):
            for shelf in self._states.pending if self._is_there() else ():
                yield from shelf.starting_with(id_prefix)

    def read(self, folder: Path) -> Capture:
        """The manifest of a capture in the spool. Raises CorruptCapture, NoSuchCapture."""
        if not is_folder(folder):
            raise NoSuchCapture(f"{id_of(folder)} is not in the spool any more.")
        return read_capture(folder / MANIFEST)

    def load(self, folder: Path) -> Capture:
        """The capture, each of its files checked against the manifest. Raises CorruptCapture, NoSuchCapture."""
        capture = self.read(folder)
        for artifact in capture.artifacts:
            if not valid_name(artifact.name):
                raise CorruptCapture(f"{folder} names a file {artifact.name!r}.")
            if digest(folder / artifact.name) != (artifact.size_bytes, artifact.sha256):
                raise CorruptCapture(f"{folder / artifact.name} is not the file that its manifest describes.")
        return capture

    def stored(self, capture_id: str) -> None:
        """The store has it: count it, and keep the manifest alone for a while."""
        with self._locked() as book:
            folder = self._states.find(capture_id, "pending", "quarantine")
            if folder is not None:
                if capture_id not in book.settled:
                    self._ledger.stored(book, capture_id)
                self._states.settle(book, folder)
                self._prune()

    def drop(self, capture_id: str, reason: str) -> None:
        """Remove it and count the loss."""
        with self._locked() as book:
            folder = self._states.find(capture_id, "new", "pending", "quarantine")
            if folder is not None:
                self._lose(book, folder, reason)

    def quarantine(self, capture_id: str, reason: str) -> None:
        """Set it aside for a person to look at, with the reason beside it."""
        with self._locked() as book:
            folder = self._states.find(capture_id, "new", "pending")
            if folder is None:
                return
            if capture_id in book.settled:
                self._states.settle(book, folder)
                return
            with suppress(OSError):  # on a full disk it is set aside without
                write_file(folder / REASON, f"{reason}\n".encode("utf-8", "backslashreplace"))
            self._states.set_aside(folder)

    def refuse(self, capture_id: str, reason: str) -> None:
        """Count a capture that no spool could take: received here, and lost."""
        with self._locked(make=True) as book:
            self._ledger.received(book, capture_id)
            self._ledger.dropped(book, reason, capture_id)

    def knows(self, capture_id: str) -> bool:
        """Whether it was received here, as far back as the books tell."""
        if not self._is_there():
            return False
        with self._locked() as book:
            known = capture_id in book.begun and book.settled.get(capture_id) != MOVED
            return known or self._states.find(capture_id, "new", "pending", "completed", "quarantine") is not None

    def unfinished(self) -> bool:
        """Whether there may be something for `recover`, at the cost of listing two folders."""
        with writing(self.root):
            return self._is_there() and self._states.unfinished()

    def recover(self, elsewhere: tuple[Spool, ...] = ()) -> list[str]:
        """Finish what killed writers left; returns the ids that wait now because of it.

        What a spool `elsewhere` has taken since is not ours any more.
        """
        if not self._is_there():
            return []
        with self._locked(make=True) as book:
            self._states.repair(book)
            self._states.sweep()
        for batch in _batches(list(self._states.of_old())):
            with self._locked():
                for folder in filter(is_folder, batch):
                    self._adopt(folder)
        with self._locked():
            orphans = self._states.orphans()
        finished = [self._finish(folder, held, elsewhere) for folder, held in orphans]
        return [capture_id for capture_id in finished if capture_id]

    def account(self) -> Account:
        """Where every capture is, exact at this moment."""
        if not self._is_there():
            return Account()
        self._count(())  # brings the folders into memory before anybody has to wait for the lock
        with self._locked() as book:
            pending, oldest, quarantined = self._count(book.settled)
        known = book.stored + pending + quarantined + book.dropped.total()
        dropped = dict(sorted(book.dropped.items()))
        if book.received > known:  # somebody removed folders by hand, or a writer was killed before it had one
            dropped["lost"] = dropped.get("lost", 0) + book.received - known
        waited = (now() - moment_of(oldest)).total_seconds() if oldest else None
        return Account(
            received=max(book.received, known),
            stored=book.stored,
            pending=pending,
            quarantined=quarantined,
            dropped=dropped,
            oldest_pending_s=None if waited is None else max(0.0, round(waited, 3)),
        )

    def make_room(self, size_bytes: int, rank: int, written_bytes: int = 0) -> None:
        """Make sure that so much fits, dropping what is wanted less. Raises SpoolUnwritable.

        `written_bytes` stand on the disk already, in a draft, and only count.
        """
        needed = blocks(size_bytes)
        more = needed + blocks(written_bytes)
        with self._locked():
            if self._reserve(more, needed):
                return
        # The first walk is made without the lock: whoever waits for it waits for the second only, out of memory.
        pending, aside = self._states.pending, self._states.aside
        tally = Tally(chain.from_iterable(shelf.walk() for shelf in (*pending, aside)))
        with self._locked():
            if self._usage.read() is None:  # nor was anybody else given room meanwhile
                self._usage.write(self._room.used(tally))
                more = needed  # the walk has seen what is written
            if self._reserve(more, needed):
                return
            plan = self._room.plan(pending, aside, tally, needed, rank)
            self._usage.write(plan.used_bytes + needed)
        for batch in _batches(plan.victims):
            with self._locked() as book:
                self._evict(book, [one for one in batch if is_folder(one.folder)])

    def _reserve(self, more: int, needed: int) -> bool:
        at_most = self._usage.read()
        if at_most is None or not self._room.fits(at_most + more, needed):
            return False
        self._usage.write(at_most + more)
        return True

    def publish(self, folder: Path, capture: Capture) -> Path:
        """Move a finished draft to the waiting ones, durably; returns where it is."""
        entry = Entry(id_of(folder), footprint(folder), likeness(capture))
        with self._locked():
            return self._states.pending[rank(capture.kind)].take_in(folder, entry.name)

    def discard(self, folder: Path, reason: str) -> None:
        """Remove a draft and count the loss; where it is MOVED, take the reception back instead."""
        with self._locked() as book:
            if is_folder(folder):
                self._lose(book, folder, reason)

    def _is_there(self) -> bool:
        """Whether there is a folder; a place that cannot even be looked at holds nothing of ours."""
        return os.path.isdir(self.root)  # noqa: PTH112  Path.is_dir raises for a name that is too long, among others

    @contextmanager
    def _locked(self, make: bool = False) -> Iterator[Book]:
        with writing(self.root):
            if make:
                self._states.make()
            with locked(self.root / "lock"):
                book = self._ledger.read()
                yield book
                if self._ledger.full(book):
                    self._fold(book)

    def _open_new(self, book: Book, capture_id: str, moves: bool) -> tuple[Path, int]:
        """Make the draft's folder and lock it. An orphan of the same id, which is the same event, is taken over."""
        if capture_id in book.settled or self._states.find(capture_id, "pending", "completed", "quarantine"):
            raise DiagError(f"Capture {capture_id} is recorded already.", "")
        folder = self._states.new / capture_id
        if is_folder(folder):
            held = self._states.claim(folder)
            if held is None:
                raise DiagError(f"Capture {capture_id} is being recorded by somebody else.", "")
            os.close(held)
            self._states.remove(folder)
        else:
            self._ledger.received(book, capture_id)
        try:
            with writing(folder):
                folder.mkdir(mode=0o700)
                descriptor = open_folder(folder)
        except SpoolUnwritable as error:
            self._write_off(book, capture_id, MOVED if moves else reason_of(error))
            raise
        try_lock(descriptor)
        return folder, descriptor

    def _lose(self, book: Book, folder: Path, reason: str) -> None:
        if id_of(folder) not in book.settled:
            self._write_off(book, id_of(folder), reason)
        self._states.settle(book, folder)

    def _write_off(self, book: Book, capture_id: str, reason: str) -> None:
        if reason == MOVED:
            self._ledger.moved(book, capture_id)
        else:
            self._ledger.dropped(book, reason, capture_id)

    def _evict(self, book: Book, victims: list[Victim]) -> None:
        lost = [id_of(one.folder) for one in victims if one.waiting and id_of(one.folder) not in book.settled]
        if lost:
            self._ledger.dropped(book, "quota", *lost)
        for one in victims:
            if one.waiting:
                self._states.settle(book, one.folder)
            else:
                self._states.remove(one.folder)
        at_most = self._usage.read()
        if at_most is not None:
            self._usage.write(at_most - sum(one.size_bytes for one in victims))

    def _prune(self) -> None:
        for capture_id in names(self._states.completed)[:-COMPLETED_KEPT]:
            if is_folder(self._states.completed / capture_id):
                self._states.remove(self._states.completed / capture_id)

    def _fold(self, book: Book) -> None:
        try:
            self._states.repair(book)
            self._ledger.fold(book)
        except OSError:
            return  # the lines stay; the next one that finds room folds them

    def _adopt(self, folder: Path) -> None:
        """Shelve a capture that an older diag left in `pending` or `quarantine` under its id alone."""
        if folder.parent.name == "quarantine":
            self._states.set_aside(folder)
            return
        try:
            capture: Capture | None = read_capture(folder / MANIFEST)
        except CorruptCapture:
            capture = None
        entry = Entry(id_of(folder), footprint(folder), likeness(capture))
        self._states.pending[rank(capture.kind) if capture else OTHER].take_in(folder, entry.name)

    def _finish(self, folder: Path, descriptor: int, elsewhere: tuple[Spool, ...]) -> str | None:
        draft = Draft(self, folder, descriptor)
        try:
            if any(spool.knows(folder.name) for spool in elsewhere):
                draft.abandon(MOVED)
                return None
            capture = self._whole(folder)
            if capture is not None:
                (folder / DRAFT).unlink(missing_ok=True)
                self.publish(folder, capture)
                return folder.name
            return folder.name if draft.finish_orphan() else None
        except CorruptCapture as error:
            if names(folder):
                self.quarantine(folder.name, str(error))
            else:
                draft.abandon("empty")
            return None
        finally:
            draft.close()

    def _whole(self, folder: Path) -> Capture | None:
        try:
            return self.load(folder)
        except CorruptCapture:
            return None

    def _count(self, settled: Container[str]) -> tuple[int, str | None, int]:
        """How many wait, the oldest of them, and how many are set aside."""
        waiting, oldest = 0, None
        for name in chain(self._states.drafts(), *(shelf.walk() for shelf in self._states.pending)):
            capture_id = name[:36]
            if capture_id not in settled:
                waiting += 1
                if oldest is None or capture_id < oldest:
                    oldest = capture_id
        quarantined = sum(name[:36] not in settled for name in self._states.aside.walk())
        return waiting, oldest, quarantined


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, AT_A_TIME)):
        yield batch
