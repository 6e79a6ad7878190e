"""The folders of a spool, and how a capture moves between them. Whoever changes them holds the spool's lock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from diag.model import MANIFEST, valid_id
from diag.spool.files import carry, folders, footprint, is_folder, names, open_folder, subfolders, sync_folder, try_lock
from diag.spool.ledger import Book
from diag.spool.order import RANKS
from diag.spool.shelf import ID_LENGTH, Entry, Shelf, id_of, leave

STATES = ("new", "pending", "completed", "quarantine")
_GONE = ".gone-"


class States:
    """`new` and `completed` are small and flat; each rank of `pending`, and `quarantine`, is a shelf."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.new = root / "new"
        self.completed = root / "completed"
        self.pending = tuple(Shelf(root / "pending" / rank) for rank in RANKS)
        self.aside = Shelf(root / "quarantine")
        self.shelves = (*self.pending, self.aside)

    def make(self) -> None:
        """Make those that are missing, durably: what is in a folder is lost with it."""
        states = (self._root / state for state in STATES)
        for folder in (self._root, *states, *(shelf.folder for shelf in self.pending)):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(folder.parent)

    def drafts(self) -> Iterator[str]:
        """The ids of what is being written."""
        return filter(valid_id, subfolders(self.new))

    def oldest(self, settled: Container[str]) -> str | None:
        """The oldest id that is written or waits and is not settled."""
        walks: tuple[Iterable[str], ...] = (sorted(self.drafts()), *(shelf.walk() for shelf in self.pending))
        firsts = (next((name[:ID_LENGTH] for name in walk if name[:ID_LENGTH] not in settled), None) for walk in walks)
        return min(filter(None, firsts), default=None)

    def find(self, capture_id: str, *states: str) -> Path | None:
        """The folder of this capture in one of these states."""
        return next(self.find_all([capture_id], *states), None)

    def find_all(self, capture_ids: list[str], *states: str) -> Iterator[Path]:
        for state in states:
            if state == "pending":
                for shelf in self.pending:
                    yield from shelf.find(capture_ids)
            elif state == "quarantine":
                yield from self.aside.find(capture_ids)
            else:
                flat = (self._root / state / capture_id for capture_id in capture_ids if valid_id(capture_id))
                yield from filter(is_folder, flat)

    def settle(self, book: Book, folder: Path) -> None:
        """Do to the folder what the ledger says already; repeated after a crash."""
        kept = self.completed / id_of(folder)
        if book.settled[id_of(folder)] != "stored" or is_folder(kept):
            self.remove(folder)
            return
        carry(folder, kept)
        leave(folder.parent)
        _strip(kept)

    def set_aside(self, folder: Path) -> None:
        """Move it to the quarantine; of what is there already, one is enough."""
        if any(self.aside.find([id_of(folder)])):
            self.remove(folder)
        else:
            self.aside.take_in(folder, Entry(id_of(folder), footprint(folder), 0).name)

    def remove(self, folder: Path) -> None:
        """Take it away. What cannot be removed now is tried again by `repair`."""
        # Out of sight by one rename first: half a removed folder must never look like a damaged capture.
        gone = self.new / f"{_GONE}{id_of(folder)}"
        shutil.rmtree(gone, ignore_errors=True)
        shutil.rmtree(carry(folder, gone), ignore_errors=True)
        leave(folder.parent)

    def repair(self, book: Book) -> None:
        """Do what a killed process had written into the ledger but not done yet."""
        settled = list(book.settled)
        for folder in list(self.find_all(settled, "new", "pending", "quarantine")):
            self.settle(book, folder)
        for folder in self.find_all(settled, "completed"):
            _strip(folder)
        for name in subfolders(self.new):
            if name.startswith(_GONE):
                shutil.rmtree(self.new / name, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the empty buckets that killed processes left."""
        for shelf in self.shelves:
            shelf.sweep()

    def unfinished(self) -> bool:
        """Whether anything is in `new`, or where an older diag kept it."""
        return any(subfolders(self.new)) or any(self.of_old())

    def of_old(self) -> Iterator[Path]:
        """Captures whose folder is named by the id alone, as an older diag kept them."""
        for state in ("pending", "quarantine"):
            yield from folders(self._root, state)

    def orphans(self) -> list[tuple[Path, int]]:
        """The drafts whose writers are gone, each with a descriptor that holds its lock."""
        claimed = ((folder, self.claim(folder)) for folder in folders(self._root, "new"))
        return [(folder, held) for folder, held in claimed if held is not None]

    def claim(self, folder: Path) -> int | None:
        """A descriptor that holds the folder's flock, or None where its writer lives, or it is somebody else's."""
        try:
            descriptor = _open_ours(folder)
        except PermissionError:
            return None
        if try_lock(descriptor):
            return descriptor
        os.close(descriptor)
        return None


def _open_ours(folder: Path) -> int:
    try:
        return open_folder(folder)
    except PermissionError:
        folder.chmod(0o700)
        return open_folder(folder)


def _strip(folder: Path) -> None:
    for name in names(folder):
        if name != MANIFEST:
            (folder / name).unlink()
