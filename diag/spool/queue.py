"""The spool: takes captures in, hands them to the uploader in order, and accounts for every one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diag.config import MIB, Settings
from diag.errors import CorruptCapture, DiagError, NoSuchCapture, SpoolUnwritable
from diag.model import MANIFEST, Capture, moment_of, now, valid_id, valid_name
from diag.spool.draft import DRAFT, Draft, read_capture
from diag.spool.files import (
    BLOCK,
    blocks,
    digest,
    folders,
    locked,
    names,
    open_folder,
    reason_of,
    sync_folder,
    try_lock,
    write_file,
    writing,
)
from diag.spool.ledger import FOOTPRINT, Book, Ledger
from diag.spool.order import Item, in_order, rank
from diag.spool.room import Room
from diag.spool.usage import Usage

STATES = ("new", "pending", "completed", "quarantine")
COMPLETED_KEPT = 200
REASON = ".reason"
_GONE = ".gone-"
_DRAFT_BYTES = 4 * BLOCK  # folder, draft, manifest


@dataclass(frozen=True, slots=True)
class Account:
    """Where every capture is: `received = stored + pending + quarantined + dropped`.

    Pending includes those that are being written.
    """

    received: int = 0
    stored: int = 0
    pending: int = 0
    quarantined: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    oldest_pending_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The account as `diag flush --json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Spool:
    """The spool in a folder, which is made when the first capture comes.

    Every method raises SpoolUnwritable where the disk says no, and nothing else of its kind.
    """

    def __init__(self, root: Path, quota_bytes: int, floor_bytes: int) -> None:
        self.root = root
        self._room = Room(root, quota_bytes, floor_bytes, overhead_bytes=FOOTPRINT + BLOCK)
        self._ledger = Ledger(root)
        self._usage = Usage(root / "usage")

    @classmethod
    def of(cls, settings: Settings) -> Spool:
        """The spool that the settings name."""
        return cls(settings.spool_dir, settings.spool_quota_mb * MIB, settings.spool_floor_mb * MIB)

    def begin(self, capture: Capture) -> Draft:
        """Start writing a capture. Raises SpoolUnwritable; the loss is counted where that can be done."""
        if not valid_id(capture.capture_id):
            raise DiagError(f"{capture.capture_id!r} is no capture id.", "")
        with self._locked(make=True) as book:
            draft = Draft(self, *self._open_new(book, capture.capture_id), rank(capture.kind))
        try:
            self.make_room(_DRAFT_BYTES, rank(capture.kind))
            draft.start(capture)
        except SpoolUnwritable as error:
            draft.abandon(reason_of(error))
            raise
        return draft

    def pending(self) -> list[Path]:
        """The folders of the captures that wait, the most urgent first."""
        with writing(self.root):
            return [one.folder for one in in_order(self._room.items("pending"))]

    def read(self, folder: Path) -> Capture:
        """The manifest of a capture in the spool. Raises CorruptCapture, NoSuchCapture."""
        if not folder.is_dir():
            raise NoSuchCapture(f"{folder.name} is not in the spool any more.")
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
            folder = self._folder(capture_id, "pending", "quarantine")
            if folder is not None:
                if capture_id not in book.settled:
                    self._ledger.stored(book, capture_id)
                self._settle(book, folder)
                self._prune()

    def drop(self, capture_id: str, reason: str) -> None:
        """Remove it and count the loss."""
        with self._locked() as book:
            folder = self._folder(capture_id, "new", "pending", "quarantine")
            if folder is not None:
                self._lose(book, folder, reason)

    def quarantine(self, capture_id: str, reason: str) -> None:
        """Set it aside for a person to look at, with the reason beside it."""
        with self._locked() as book:
            folder = self._folder(capture_id, "new", "pending")
            if folder is None:
                return
            if capture_id in book.settled:
                self._settle(book, folder)
                return
            with suppress(OSError):  # on a full disk it is set aside without
                write_file(folder / REASON, f"{reason}\n".encode("utf-8", "backslashreplace"))
            self._move(folder, "quarantine")

    def recover(self) -> list[str]:
        """Finish what killed writers left; returns the ids that wait now because of it."""
        if not self.root.is_dir():
            return []
        with self._locked() as book:
            self._repair(book)
            orphans = [(folder, held) for folder in folders(self.root, "new") if (held := _claim(folder)) is not None]
        finished = [self._finish(folder, held) for folder, held in orphans]
        return [capture_id for capture_id in finished if capture_id]

    def account(self) -> Account:
        """Where every capture is, exact at this moment."""
        if not self.root.is_dir():
            return Account()
        with self._locked() as book:
            waiting = [*names(self.root / "new"), *names(self.root / "pending")]
            here = [capture_id for capture_id in waiting if valid_id(capture_id) and capture_id not in book.settled]
            quarantined = sum(one not in book.settled for one in names(self.root / "quarantine"))
        known = book.stored + len(here) + quarantined + book.dropped.total()
        dropped = dict(sorted(book.dropped.items()))
        if book.received > known:  # somebody removed folders by hand, or a writer was killed before it had one
            dropped["lost"] = dropped.get("lost", 0) + book.received - known
        oldest = (now() - moment_of(min(here))).total_seconds() if here else None
        return Account(
            received=max(book.received, known),
            stored=book.stored,
            pending=len(here),
            quarantined=quarantined,
            dropped=dropped,
            oldest_pending_s=None if oldest is None else max(0.0, round(oldest, 3)),
        )

    def make_room(self, size_bytes: int, rank: int, written_bytes: int = 0) -> None:
        """Make sure that so much fits, dropping what is wanted less. Raises SpoolUnwritable.

        `written_bytes` stand on the disk already, in a draft, and only count.
        """
        needed = blocks(size_bytes)
        with self._locked() as book:
            at_most = self._usage.read()
            more = needed + blocks(written_bytes)
            if at_most is None or at_most + more > self._room.quota_bytes or self._room.short(needed) > 0:
                chosen, at_most = self._room.choose(needed, rank)
                more = needed  # the walk has seen what is written
                for one in chosen:
                    self._evict(book, one, "quota")
            self._usage.write(at_most + more)

    def publish(self, folder: Path) -> Path:
        """Move a finished draft to the waiting ones, durably; returns where it is."""
        with self._locked():
            return self._move(folder, "pending")

    def discard(self, folder: Path, reason: str) -> None:
        """Remove a draft and count the loss."""
        with self._locked() as book:
            if folder.is_dir():
                self._lose(book, folder, reason)

    @contextmanager
    def _locked(self, make: bool = False) -> Iterator[Book]:
        with writing(self.root):
            if make:
                self._make_folders()
            with locked(self.root / "lock"):
                book = self._ledger.read()
                yield book
                if self._ledger.full(book):
                    self._fold(book)

    def _make_folders(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for state in STATES:
            (self.root / state).mkdir(mode=0o700, exist_ok=True)

    def _open_new(self, book: Book, capture_id: str) -> tuple[Path, int]:
        """Make the draft's folder and lock it. An orphan of the same id, which is the same event, is taken over."""
        if capture_id in book.settled or self._folder(capture_id, "pending", "completed", "quarantine"):
            raise DiagError(f"Capture {capture_id} is recorded already.", "")
        folder = self.root / "new" / capture_id
        if folder.is_dir():
            held = _claim(folder)
            if held is None:
                raise DiagError(f"Capture {capture_id} is being recorded by somebody else.", "")
            os.close(held)
            self._remove(folder)
        else:
            self._ledger.received(book, capture_id)
        try:
            with writing(folder):
                folder.mkdir(mode=0o700)
                descriptor = open_folder(folder)
        except SpoolUnwritable as error:
            self._ledger.dropped(book, capture_id, reason_of(error))
            raise
        try_lock(descriptor)
        return folder, descriptor

    def _lose(self, book: Book, folder: Path, reason: str) -> None:
        if folder.name not in book.settled:
            self._ledger.dropped(book, folder.name, reason)
        self._settle(book, folder)

    def _settle(self, book: Book, folder: Path) -> None:
        """Do to the folder what the ledger says already; repeated after a crash."""
        if book.settled[folder.name] == "stored":
            kept = folder.rename(self.root / "completed" / folder.name)
            _strip(kept)
        else:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        # Out of sight by one rename first: half a removed folder must never look like a damaged capture.
        gone = self.root / "new" / f"{_GONE}{folder.name}"
        shutil.rmtree(gone, ignore_errors=True)
        shutil.rmtree(folder.rename(gone))

    def _move(self, folder: Path, state: str) -> Path:
        moved = folder.rename(self.root / state / folder.name)
        sync_folder(moved.parent)
        sync_folder(folder.parent)
        return moved

    def _evict(self, book: Book, one: Item, reason: str) -> None:
        if one.folder.parent.name == "completed":
            self._remove(one.folder)
        else:
            self._lose(book, one.folder, reason)

    def _prune(self) -> None:
        for capture_id in names(self.root / "completed")[:-COMPLETED_KEPT]:
            self._remove(self.root / "completed" / capture_id)

    def _repair(self, book: Book) -> None:
        """Do what a killed process had written into the ledger but not done yet."""
        for folder in [one for state in ("new", "pending", "quarantine") for one in folders(self.root, state)]:
            if folder.name in book.settled:
                self._settle(book, folder)
        for folder in folders(self.root, "completed"):
            _strip(folder)
        for gone in (self.root / "new").glob(f"{_GONE}*"):
            shutil.rmtree(gone)

    def _fold(self, book: Book) -> None:
        try:
            self._repair(book)
            self._ledger.fold(book)
        except OSError:
            return  # the lines stay; the next one that finds room folds them

    def _finish(self, folder: Path, descriptor: int) -> str | None:
        draft = Draft(self, folder, descriptor)
        try:
            if (folder / MANIFEST).exists() and self._is_whole(folder):
                (folder / DRAFT).unlink(missing_ok=True)
                self.publish(folder)
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

    def _is_whole(self, folder: Path) -> bool:
        try:
            self.load(folder)
        except CorruptCapture:
            return False
        return True

    def _folder(self, capture_id: str, *states: str) -> Path | None:
        if not valid_id(capture_id):
            return None
        return next((path for state in states if (path := self.root / state / capture_id).is_dir()), None)


def _claim(folder: Path) -> int | None:
    """A descriptor that holds the folder's flock, or None where its writer lives."""
    descriptor = open_folder(folder)
    if try_lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _strip(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != MANIFEST:
            path.unlink()
