"""Makes room in a spool: within its quota, by dropping what is wanted least, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from diag.spool.books import Books
from diag.spool.files import BLOCK, NoRoom, blocks, is_folder
from diag.spool.ledger import FOOTPRINT, Book
from diag.spool.room import Room, Tally, Victim
from diag.spool.shelf import id_of
from diag.spool.usage import Usage, Used

AT_A_TIME = 64  # so many change while the lock is held, and their lines fit into what the ledger has in reserve
ATTEMPTS = 5  # others may take the room that was made
T = TypeVar("T")


class Space:
    """The space that a spool takes, and who has to leave it."""

    def __init__(self, books: Books, quota_bytes: int, floor_bytes: int) -> None:
        self._books = books
        self._room = Room(books.root, quota_bytes, floor_bytes, overhead_bytes=FOOTPRINT + BLOCK)
        self._usage = Usage(books.root / "usage")

    def make(self, size_bytes: int, rank: int, written_bytes: int = 0) -> None:
        """See `Spool.make_room`."""
        needed, written = blocks(size_bytes), blocks(written_bytes)
        for _ in range(ATTEMPTS):
            with self._books.locked():
                before = self._usage.read()
                if self._reserve(before, needed + written, needed):
                    return
            self._free_up(before.granted, needed, written, rank)
            written = 0  # the walk has counted it
        raise NoRoom(f"Others fill the spool {self._books.root} faster than room can be made in it.", "quota")

    def shelved(self, size_bytes: int) -> None:
        """So much comes onto a shelf: a walk that is under way may miss it here and there. The lock is held."""
        used = self._usage.read()
        if used.at_most is not None:
            self._usage.write(used.at_most, used.granted + size_bytes)

    def _reserve(self, used: Used, more: int, needed: int) -> bool:
        if used.at_most is None or not self._room.fits(used.at_most + more, needed):
            return False
        self._usage.write(used.at_most + more, used.granted + more)
        return True

    def _free_up(self, granted_before: int, needed: int, written: int, rank: int) -> None:
        """Learn what is used, and evict so that `needed` bytes fit. Nobody waits for the lock while names are read."""
        tally = Tally(chain.from_iterable(shelf.walk() for shelf in self._books.states.shelves))
        with self._books.locked():
            used = self._usage.read()
            at_most = self._room.used(tally) + used.granted - granted_before
            if used.at_most is not None:
                at_most = min(at_most, used.at_most + written)
            self._usage.write(at_most, used.granted)
        if self._room.fits(at_most + needed, needed):
            return
        for batch in batches(self._room.victims(self._books.states, tally, at_most, needed, rank)):
            with self._books.locked() as book:
                self._evict(book, [one for one in batch if is_folder(one.folder)])

    def _evict(self, book: Book, victims: list[Victim]) -> None:
        lost = [id_of(one.folder) for one in victims if one.waiting and id_of(one.folder) not in book.settled]
        if lost:
            self._books.ledger.dropped(book, "quota", *lost)
        for one in victims:
            if one.waiting:
                self._books.states.settle(book, one.folder)
            else:
                self._books.states.remove(one.folder)
        used = self._usage.read()
        if used.at_most is not None:
            self._usage.write(max(0, used.at_most - sum(one.size_bytes for one in victims)), used.granted)


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, AT_A_TIME."""
    left = iter(items)
    while batch := list(islice(left, AT_A_TIME)):
        yield batch
