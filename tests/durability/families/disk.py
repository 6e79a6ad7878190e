"""Disks that are full, out of inodes, or read-only, from the start or in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from durability import disks, ledger, work
from durability.bench import Bench
from durability.families import power
from durability.judge import check_children, check_identity, judge
from durability.ledger import Ledger
from durability.place import NOWHERE, Place
from durability.trial import Outcome, Trial

WAYS = ("full", "full-first", "full-tmpfs", "filling", "inodes", "read-only", "read-only-first", "store-full")
missing = disks.missing


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Each way in turn."""
    return [
        Trial("disk", f"{WAYS[number % len(WAYS)]}/{number}", seed, partial(_run, WAYS[number % len(WAYS)]))
        for number in range(count)
    ]


class _Small:
    """A small disk that can be made to fail, and to work again."""

    def __init__(self, at: Path, one: disks.Disk | None) -> None:
        self.at, self._one = at, one
        self._files: list[Path] = []

    def fail(self, way: str, chance: random.Random) -> None:
        if way.startswith("read-only") and self._one:
            self._one.remount("ro")
        elif way == "inodes":
            folder = self.at / "files"
            folder.mkdir()
            self._files = _take_inodes(folder, leaving=chance.randint(0, 12))
        else:
            self._files = [disks.fill(self.at, leaving=chance.choice((0, 0, 4096, 30_000, 150_000)))]

    def mend(self, way: str) -> None:
        if way.startswith("read-only") and self._one:
            self._one.remount("rw")
        for path in self._files:
            path.unlink()


def _run(way: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    with bench.scratch() as folder, _small(way, bench, folder) as small:
        state, store = (None, small.at / "store") if way == "store-full" else (small.at / "state", None)
        with bench.place("file", state=state, store=store) as (place, corner):
            if not way.endswith("-first"):
                _record(place, book, chance, outcome)
            if way != "filling":
                small.fail(way, chance)
            for _ in range(25 if way == "filling" else 2):
                _record(place, book, chance, outcome)
            found = place.flush() if way == "store-full" else place.look()
            check_children(place, {"diag flush": found.status}, outcome)
            if found.account:
                check_identity(found, outcome)
            small.mend(way)
            excuses = ("quota",) if way == "filling" else ()
            return judge(book, place, place.drain(), corner.objects(), outcome, excuses=excuses)


def _record(place: Place, book: Ledger, chance: random.Random, outcome: Outcome) -> None:
    sizes = [(chance.randint(0, 400_000), chance.randint(1, 9_000)) for _ in range(chance.randint(1, 3))]
    does = work.record([ledger.plan(*size) for size in sizes], adopt=chance.random() < 0.3)
    child = place.start(does, DIAG_STORE=NOWHERE)
    for line in child.said():
        book.hear(line)
    check_children(place, {"the child": child.status or 0}, outcome)


@contextmanager
def _small(way: str, bench: Bench, folder: Path) -> Iterator[_Small]:
    if way in ("full-tmpfs", "inodes", "filling"):
        options = "size=6m,nr_inodes=60" if way == "inodes" else "size=6m"
        with disks.memory(folder / "disk", options) as at:
            yield _Small(at, None)
        return
    with disks.disk(power.template(bench), folder, disks.OPTIONS[0]) as one:
        yield _Small(one.at, one)


def _take_inodes(folder: Path, leaving: int) -> list[Path]:
    made: list[Path] = []
    try:
        for number in range(10_000):
            path = folder / str(number)
            path.touch()
            made.append(path)
    except OSError:
        pass  # that was the last one
    for path in made[len(made) - leaving :]:
        path.unlink()
    return made[: len(made) - leaving]
