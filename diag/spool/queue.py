"""The spool: takes captures in, hands them to the uploader in order, and accounts for every one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from diag.config import MIB, Settings
from diag.errors import CorruptCapture, DiagError, NoSuchCapture, SpoolUnwritable
from diag.model import MANIFEST, Capture, moment_of, now, valid_id, valid_name
from diag.spool.account import Account
from diag.spool.books import Books
from diag.spool.census import Census
from diag.spool.draft import MOVED, Draft
from diag.spool.files import (
    BLOCK,
    digest,
    footprint,
    is_folder,
    names,
    open_folder,
    reason_of,
    try_lock,
    write_file,
    writing,
)
from diag.spool.ledger import Book
from diag.spool.manifest import read_capture
from diag.spool.order import in_turns, likeness, newest_first, rank
from diag.spool.recovery import recover
from diag.spool.shelf import Entry, id_of
from diag.spool.space import Space

COMPLETED_KEPT = 200
REASON = ".reason"
_DRAFT_BYTES = 4 * BLOCK  # folder, draft, manifest


class Spool:
    """The spool in a folder, which is made when the first capture comes.

    Every method raises SpoolUnwritable where the disk says no, and nothing else of its kind.
    """

    def __init__(self, root: Path, quota_bytes: int, floor_bytes: int) -> None:
        self.root = root
        self._books = Books(root)
        self._states = self._books.states
        self._ledger = self._books.ledger
        self._space = Space(self._books, quota_bytes, floor_bytes)

    @classmethod
    def of(cls, settings: Settings) -> Spool:
        """The first spool that the settings name."""
        return cls(settings.spool_dir, settings.spool_quota_mb * MIB, settings.spool_floor_mb * MIB)

    def is_there(self) -> bool:
        """Whether anything was ever kept here."""
        return self._books.is_there()

    def begin(self, capture: Capture, *, moves: bool = False) -> Draft:
        """Start writing a capture. Raises SpoolUnwritable; the loss is counted where that can be done.

        Where it `moves`, a refusal is no loss but takes the reception back: the caller begins it in another spool.
        """
        if not valid_id(capture.capture_id):
            raise DiagError(f"{capture.capture_id!r} is no capture id.", "")
        with self._books.locked(make=True) as book:
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
            if self._books.is_there():
                yield from in_turns(self._states.pending)

    def newest(self) -> Iterator[Path]:
        """The folders of the captures that wait, the newest first, read as far as they are asked for."""
        with writing(self.root):
            if self._books.is_there():
                yield from newest_first(self._states.pending)

    def starting_with(self, id_prefix: str) -> Iterator[Path]:
        """The folders of the captures that wait and whose ids start like this."""
        with writing(self.root):
            for shelf in self._states.pending if self._books.is_there() else ():
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

    def stored(self, *capture_ids: str) -> None:
        """The store has them: count them, and keep the manifest alone for a while. Many at once cost little more.

        One that had to make room while it was on its way is no loss any more.
        """
        with self._books.locked() as book:
            folders = list(self._states.find_all(list(capture_ids), "pending", "quarantine"))
            new = [one for one in map(id_of, folders) if one not in book.settled]
            found = [one for one in capture_ids if one in book.lost_for]
            self._ledger.stored(book, *dict.fromkeys([*new, *found]))
            for folder in folders:
                self._states.settle(book, folder)
            self._prune()

    def drop(self, capture_id: str, reason: str) -> None:
        """Remove it and count the loss."""
        with self._books.locked() as book:
            folder = self._states.find(capture_id, "new", "pending", "quarantine")
            if folder is not None:
                self._books.lose(book, folder, reason)

    def quarantine(self, capture_id: str, reason: str) -> None:
        """Set it aside for a person to look at, with the reason beside it."""
        with self._books.locked() as book:
            folder = self._states.find(capture_id, "new", "pending")
            if folder is None:
                return
            if capture_id in book.settled:
                self._states.settle(book, folder)
                return
            with suppress(OSError):  # on a full disk it is set aside without
                write_file(folder / REASON, f"{reason}\n".encode("utf-8", "backslashreplace"))
            self._states.set_aside(folder)

    def refuse(self, reason: str, *capture_ids: str) -> None:
        """Count captures that are not kept: received here, and dropped. Many at once cost little more."""
        with self._books.locked(make=True) as book:
            self._ledger.received(book, *capture_ids)
            self._ledger.dropped(book, reason, *capture_ids)

    def knows(self, capture_id: str) -> bool:
        """Whether it was received here, as far back as the books tell."""
        if not self._books.is_there():
            return False
        with self._books.locked() as book:
            known = capture_id in book.begun and book.settled.get(capture_id) != MOVED
            return known or self._states.find(capture_id, "new", "pending", "completed", "quarantine") is not None

    def unfinished(self) -> bool:
        """Whether there may be something for `recover`, at the cost of listing two folders."""
        with writing(self.root):
            return self._books.is_there() and self._states.unfinished()

    def recover(self, elsewhere: tuple[Spool, ...] = ()) -> list[str]:
        """Finish what killed writers left; returns the ids that wait now because of it.

        What a spool `elsewhere` has taken since is not ours any more.
        """
        return recover(self, self._books, elsewhere) if self._books.is_there() else []

    def account(self) -> Account:
        """Where every capture is, exact at this moment."""
        if not self._books.is_there():
            return Account()
        census = Census(self._states)  # counted again with the lock held is only what changed meanwhile
        census.count()
        with self._books.locked() as book:
            pending, quarantined = census.count(book.settled)
            oldest = self._states.oldest(book.settled)
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
        self._space.make(size_bytes, rank, written_bytes)

    def publish(self, folder: Path, capture: Capture) -> Path:
        """Move a finished draft to the waiting ones, durably; returns where it is."""
        entry = Entry(id_of(folder), footprint(folder), likeness(capture))
        with self._books.locked():
            self._space.shelved(entry.size_bytes)
            return self._states.pending[rank(capture.kind)].take_in(folder, entry.name)

    def discard(self, folder: Path, reason: str) -> None:
        """Remove a draft and count the loss; where it is MOVED, take the reception back instead."""
        with self._books.locked() as book:
            if is_folder(folder):
                self._books.lose(book, folder, reason)

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
            self._books.write_off(book, capture_id, MOVED if moves else reason_of(error))
            raise
        try_lock(descriptor)
        return folder, descriptor

    def _prune(self) -> None:
        for capture_id in names(self._states.completed)[:-COMPLETED_KEPT]:
            if is_folder(self._states.completed / capture_id):
                self._states.remove(self._states.completed / capture_id)
