"""What every part of a spool works on: its folders, its ledger, and the lock over both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diag.spool.draft import MOVED
from diag.spool.files import locked, writing
from diag.spool.ledger import Book, Ledger
from diag.spool.shelf import id_of
from diag.spool.states import States


class Books:
    """The folders and the ledger of one spool."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.states = States(root)
        self.ledger = Ledger(root)

    def is_there(self) -> bool:
        """Whether there is a folder; a place that cannot even be looked at holds nothing of ours."""
        return os.path.isdir(self.root)  # noqa: PTH112  Path.is_dir raises for a name that is too long, among others

    @contextmanager
    def locked(self, make: bool = False) -> Iterator[Book]:
        """The book as it stands, with the lock held; the folders are made before where they may be missing."""
        with writing(self.root):
            if make:
                self.states.make()
            with locked(self.root / "lock"):
                book = self.ledger.read()
                yield book
                if self.ledger.full(book):
                    self._fold(book)

    def lose(self, book: Book, folder: Path, reason: str) -> None:
        """Count the loss of a capture that is here, and remove it."""
        if id_of(folder) not in book.settled:
            self.write_off(book, id_of(folder), reason)
        self.states.settle(book, folder)

    def write_off(self, book: Book, capture_id: str, reason: str) -> None:
        """Count a loss; where it is MOVED, take the reception back."""
        if reason == MOVED:
            self.ledger.moved(book, capture_id)
        else:
            self.ledger.dropped(book, reason, capture_id)

    def _fold(self, book: Book) -> None:
        try:
            self.states.repair(book)
            self.ledger.fold(book)
        except OSError:
            return  # the lines stay; the next one that finds room folds them
