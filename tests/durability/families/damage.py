"""Files of the spool that a disk or a person has damaged: cut off, zeroed, one bit flipped, swapped, removed."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from diag.model import MANIFEST
from diag.spool import id_of
from durability import ledger, work
from durability.bench import Bench
from durability.families.kill_steps import written
from durability.judge import check_children, check_identity, judge
from durability.steps import Step, kill_at
from durability.trial import Outcome, Trial

WAYS = ("cut", "empty", "zeros", "zero-block", "flip", "swap", "gone", "folders", "link", "other-file")
CAPTURES = 4


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Each way on reports, on manifests, on the spool's own files and on what a killed writer left, in turn."""
    found = []
    for number in range(count):
        way, what = WAYS[number % len(WAYS)], ("report", "manifest", "own", "orphan")[number // len(WAYS) % 4]
        run = partial(_run_orphan, way) if what == "orphan" else partial(_run, what, way)
        found.append(Trial("damage", f"{what}/{way}-{number}", seed, run))
    return found


def _run(what: str, way: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome = Outcome()
    with bench.place("file") as (place, corner):
        book = written(place, [ledger.plan(chance.randint(1, 30_000), 700) for _ in range(CAPTURES)])
        if what == "own":
            outcome.hit = _damage_own(place.state / "diag" / "spool", way, chance)
        else:
            victims = sorted(place.waiting().values())
            chance.shuffle(victims)
            aside = _damage(victims, what, way, chance)
        before = place.look()
        check_children(place, {"diag flush": before.status}, outcome)
        check_identity(before, outcome)
        found = place.drain()
        if what == "own":
            # What was in the ledger may be gone with it; the captures may not.
            book.begun.clear()
            return judge(book, place, found, corner.objects(), outcome)
        judge(book, place, found, corner.objects(), outcome, aside=aside)
        missed = aside - set(place.quarantined())
        outcome.doubled += [f"{one} was damaged ({what}, {way}), and nobody noticed" for one in sorted(missed)]
        return outcome


def _run_orphan(way: str, bench: Bench, chance: random.Random) -> Outcome:
    """A writer was killed, and what it left is damaged: the others are not concerned."""
    outcome = Outcome()
    with bench.place("file") as (place, corner):
        book = written(place, [ledger.plan(20_000)])
        child = place.start(work.record([ledger.plan(5_000, 30_000, 700)]), gated=True)
        kill_at(child, Step("fsync", chance.randint(6, 14), "orphan"))
        for line in child.said():
            book.hear(line)
        files = [path for path in place.unfinished() if path.stat().st_size]
        outcome.hit = bool(files)
        if files:
            _swap(*(files * 2)[:2]) if way in ("swap", "folders") else _spoil(chance.choice(files), way, chance)
        found = place.drain()
        check_children(place, {"diag flush": found.status}, outcome)
        orphans = set(book.plans) - book.acknowledged
        judge(book, place, found, corner.objects(), outcome, aside=None)
        outcome.doubled = [one for one in outcome.doubled if not any(orphan in one for orphan in orphans)]
        return outcome


def _damage(victims: list[Path], what: str, way: str, chance: random.Random) -> set[str]:
    """Damage one or two captures; returns their ids."""
    name = MANIFEST if what == "manifest" else chance.choice(("report.txt", "report1.txt"))
    first, second = victims[0], victims[1]
    if way == "swap":
        _swap(first / name, second / name)
        return {id_of(first), id_of(second)}
    if way == "folders":
        _swap(first, second)
        return {id_of(first), id_of(second)}
    _spoil(first / name, way, chance)
    return {id_of(first)}


def _damage_own(spool: Path, way: str, chance: random.Random) -> bool:
    """Damage a file that is no capture's: whatever stands in the spool's folder itself. Never by a link."""
    files = sorted(path for path in spool.iterdir() if path.is_file() and path.stat().st_size)
    if not files or way == "link":
        return False
    if way in ("swap", "folders"):
        _swap(*(files * 2)[:2])
    else:
        _spoil(chance.choice(files), way, chance)
    return True


def _spoil(path: Path, way: str, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if way == "gone":
        path.unlink()
        return
    if way == "link":
        path.unlink()
        path.symlink_to("not-there")  # relative: whoever follows it stays in the trial's own folder
        return
    if way == "cut":
        data = data[: chance.randrange(len(data))]
    elif way == "empty":
        data = bytearray()
    elif way == "zeros":
        data = bytearray(len(data))
    elif way == "zero-block":
        start = chance.randrange(len(data)) // 4096 * 4096
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif way == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    else:
        data = bytearray(chance.randbytes(len(data)))
    path.write_bytes(data)


def _swap(one: Path, other: Path) -> None:
    aside = one.with_name(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
