"""Finishes what killed writers left in a spool, and what an older diag left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diag.errors import CorruptCapture
from diag.model import MANIFEST, Capture
from diag.spool.books import Books
from diag.spool.draft import MOVED, Draft
from diag.spool.files import footprint, is_folder, names
from diag.spool.manifest import DRAFT, read_capture
from diag.spool.order import OTHER, likeness, rank
from diag.spool.shelf import Entry, id_of
from diag.spool.space import batches

if TYPE_CHECKING:
    from diag.spool.queue import Spool


def recover(spool: Spool, books: Books, elsewhere: tuple[Spool, ...]) -> list[str]:
    """See `Spool.recover`."""
    with books.locked(make=True) as book:
        books.states.repair(book)
        books.states.sweep()
    for batch in batches(list(books.states.of_old())):
        with books.locked():
            for folder in filter(is_folder, batch):
                _adopt(books, folder)
    with books.locked():
        orphans = books.states.orphans()
    finished = [_finish(spool, folder, held, elsewhere) for folder, held in orphans]
    return [capture_id for capture_id in finished if capture_id]


def _adopt(books: Books, folder: Path) -> None:
    """Shelve a capture that an older diag left in `pending` or `quarantine` under its id alone."""
    if folder.parent.name == "quarantine":
        books.states.set_aside(folder)
        return
    try:
        capture: Capture | None = read_capture(folder / MANIFEST)
    except CorruptCapture:
        capture = None
    entry = Entry(id_of(folder), footprint(folder), likeness(capture))
    books.states.pending[rank(capture.kind) if capture else OTHER].take_in(folder, entry.name)


def _finish(spool: Spool, folder: Path, descriptor: int, elsewhere: tuple[Spool, ...]) -> str | None:
    draft = Draft(spool, folder, descriptor)
    try:
        if any(other.knows(folder.name) for other in elsewhere):
            draft.abandon(MOVED)
            return None
        capture = _whole(spool, folder)
        if capture is not None:
            (folder / DRAFT).unlink(missing_ok=True)
            spool.publish(folder, capture)
            return folder.name
        return folder.name if draft.finish_orphan() else None
    except CorruptCapture as error:
        if names(folder):
            spool.quarantine(folder.name, str(error))
        else:
            draft.abandon("empty")
        return None
    finally:
        draft.close()


def _whole(spool: Spool, folder: Path) -> Capture | None:
    try:
        return spool.load(folder)
    except CorruptCapture:
        return None
