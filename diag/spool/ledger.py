"""What the folders cannot tell: how many captures were received, and what became of those that are gone.

Lines are appended and fsynced, one `{"received": id}` and later one `{"stored": id}` or `{"dropped": id, "reason": …}`
a capture; `{"moved": id}` takes the first back, because another spool takes the capture in. The file's blocks are
allocated in advance, so that a loss can be counted on a full disk. When it is nearly full it is folded into
`totals.json` by one rename; the generation in both names makes the fold happen once.

Everything here is called with the spool's lock held.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diag.spool.files import allocate, read_plain, sync_folder, write_all, write_file

SIZE = 64 * 1024
FOLD_AT = SIZE - 8 * 1024
OUTCOMES = ("stored", "dropped", "moved")
READ_AT_MOST = 64 * SIZE  # it is folded long before, so only a broken disk has more
FOOTPRINT = 2 * SIZE + 4096  # on disk at most: while it is folded there are two, and the totals


@dataclass(slots=True)
class Book:
    """The ledger as read: totals, and the ids since the last fold. `settled` maps an id to what became of it."""

    generation: int = 0
    received: int = 0
    stored: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    begun: set[str] = field(default_factory=set)
    settled: dict[str, str] = field(default_factory=dict)
    lost_for: dict[str, str] = field(default_factory=dict)  # of those that were dropped, why
    end: int = 0  # where the next line goes
    torn: int = 0  # bytes behind it that a killed writer left

    def add(self, line: dict[str, Any]) -> None:
        """Count one line; the same id counts once. Raises KeyError, TypeError or ValueError where it is none."""
        if "received" in line:
            self._begin(_text(line["received"]))
            return
        outcome = next(one for one in OUTCOMES if one in line)
        capture_id = _text(line[outcome])
        if capture_id in self.settled:
            if outcome != "stored" or capture_id not in self.lost_for:
                return
            self._find(capture_id)
        self.settled[capture_id] = outcome
        if outcome == "stored":
            self.stored += 1
        elif outcome == "dropped":
            self.lost_for[capture_id] = str(line.get("reason", ""))
            self.dropped[self.lost_for[capture_id]] += 1
        else:
            self.received -= 1

    def _find(self, capture_id: str) -> None:
        """It was on its way to the store when it was dropped, and has arrived there: no loss."""
        reason = self.lost_for.pop(capture_id)
        self.dropped[reason] -= 1
        if not self.dropped[reason]:
            del self.dropped[reason]

    def _begin(self, capture_id: str) -> None:
        if self.settled.get(capture_id) == "moved":  # it came back: nobody else took it
            del self.settled[capture_id]
        elif capture_id in self.begun:
            return
        self.begun.add(capture_id)
        self.received += 1


_MALFORMED = (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError, StopIteration)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no id")
    return value


class Ledger:
    """The ledger in a spool's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._totals = folder / "totals.json"

    def read(self) -> Book:
        """The book as it stands. A torn last line was never acknowledged, and does not count."""
        book = self._read_totals()
        try:
            content = read_plain(self._path(book.generation), READ_AT_MOST)
        except FileNotFoundError:
            return book
        written = content[: content.index(0)] if 0 in content else content
        book.end = written.rfind(b"\n") + 1
        book.torn = len(written) - book.end
        for line in written[: book.end].splitlines():
            try:
                book.add(json.loads(line))
            except _MALFORMED:
                continue  # a block that the disk lost: what the folders hold still counts
        return book

    def received(self, book: Book, *capture_ids: str) -> None:
        """Record that captures begin. Raises OSError."""
        self._append(book, *({"received": capture_id} for capture_id in capture_ids))

    def stored(self, book: Book, *capture_ids: str) -> None:
        """Record that the store has them. Raises OSError."""
        self._append(book, *({"stored": capture_id} for capture_id in capture_ids))

    def dropped(self, book: Book, reason: str, *capture_ids: str) -> None:
        """Record that they are lost, and why. Raises OSError."""
        self._append(book, *({"dropped": capture_id, "reason": reason} for capture_id in capture_ids))

    def moved(self, book: Book, capture_id: str) -> None:
        """Record that it is none of ours: another spool counts it. Raises OSError."""
        self._append(book, {"moved": capture_id})

    def full(self, book: Book) -> bool:
        """Whether it is time to fold."""
        return book.end >= FOLD_AT

    def fold(self, book: Book) -> None:
        """Fold the lines into the totals. Only where no settled id has a folder left, because ids are forgotten.

        Raises OSError.
        """
        following = book.generation + 1
        self._create(self._path(following))
        totals = {
            "generation": following,
            "received": book.received,
            "stored": book.stored,
            "dropped": dict(book.dropped),
        }
        write_file(self._totals, json.dumps(totals).encode())
        sync_folder(self._folder)
        self._path(book.generation).unlink(missing_ok=True)

    def _read_totals(self) -> Book:
        try:
            totals = json.loads(read_plain(self._totals))
            return Book(
                generation=int(totals["generation"]),
                received=int(totals["received"]),
                stored=int(totals["stored"]),
                dropped=Counter({str(reason): int(count) for reason, count in totals["dropped"].items()}),
            )
        except FileNotFoundError:
            return Book()
        except _MALFORMED:
            # Renamed whole, so only a broken disk gets here; go on with the youngest ledger there is.
            found = [int(path.suffix[1:]) for path in self._folder.glob("ledger.*") if path.suffix[1:].isdigit()]
            return Book(generation=max(found, default=0))

    def _append(self, book: Book, *lines: dict[str, Any]) -> None:
        if not lines:
            return
        path = self._path(book.generation)
        text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        if not path.exists():
            self._create(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, book.end, os.SEEK_SET)
            write_all(descriptor, text.ljust(book.torn, b"\0"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        book.end += len(text)
        book.torn = 0
        for line in lines:
            book.add(line)

    def _create(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            allocate(descriptor, SIZE)
            os.fsync(descriptor)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        sync_folder(self._folder)

    def _path(self, generation: int) -> Path:
        return self._folder / f"ledger.{generation}"
