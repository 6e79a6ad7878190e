"""Power cuts: a spool on an ext4 of its own, the journal cut off at each step and at times of chance.

The device keeps what it was handed and loses what only the cache holds. Between two steps the device's file is copied
while its writer is dead; within a call ext4's own shutdown does the same at one instant. Then the disk is mounted
again, which replays its journal, and `diag flush` goes on.
"""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from durability import disks, ledger, work
from durability.bench import Bench
from durability.children import LIMIT_S
from durability.disks import Disk, disk, image
from durability.judge import check_children, judge
from durability.ledger import Ledger
from durability.place import Place
from durability.steps import DISK, Step, kill_at, steps
from durability.stores import FileCorner
from durability.trial import Outcome, Trial
from durability.work import Work

SIZES = (900, 40_000)
LONGEST_S = 0.2
missing = disks.missing


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Half at the steps of a writer and of a sender, half at times of chance."""
    chance = random.Random(f"{seed}/power-cut")
    at_steps = [
        (scene, step, option)
        for scene in ("write", "send")
        for step in _list(scene, bench)
        for option in range(len(disks.OPTIONS))
    ]
    if len(at_steps) > count // 2:
        at_steps = chance.sample(at_steps, count // 2)
    found = [
        Trial("power-cut", f"{scene}/{step.name}-{option}", seed, partial(_at_step, scene, step, option))
        for scene, step, option in at_steps
    ]
    ways = ("shutdown", "copy", "answered")
    return found + [
        Trial("power-cut", f"{ways[number % 3]}/{number}", seed, partial(_by_chance, ways[number % 3]))
        for number in range(count - len(found))
    ]


def template(bench: Bench) -> Path:
    """An image with an empty file system, to be copied."""
    path = bench.folder / "empty.img"
    return path if path.exists() else image(path)


def _prepare(scene: str, place: Place, book: Ledger) -> Work:
    """What is there before the cut, and the work that it hits."""
    if scene == "write":
        return work.record([ledger.plan(*SIZES), ledger.plan(700)])
    _hear(book, place.start(work.record([ledger.plan(*SIZES), ledger.plan(3000)])).said())
    return work.flush


def _list(scene: str, bench: Bench) -> list[Step]:
    with bench.scratch() as folder, disk(template(bench), folder, disks.OPTIONS[0]) as one:
        with bench.place("file", state=one.at / "state", store=one.at / "store") as (place, _):
            child = place.start(_prepare(scene, place, Ledger()), gated=True)
            return steps(child, folder / "trace", DISK)


def _at_step(scene: str, step: Step, option: int, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    with bench.scratch() as folder, disk(template(bench), folder, disks.OPTIONS[option]) as one:
        with bench.place("file", state=one.at / "state", store=one.at / "store") as (place, corner):
            child = place.start(_prepare(scene, place, book), gated=True)
            outcome.hit = kill_at(child, step)
            _hear(book, child.said())
            check_children(place, {"the child": child.status or 0}, outcome)
            copied = one.copy(folder / "copy.img")
            one.cut_power()
            one.power_on(copied)
            return _after(one, place, corner, book, outcome)


def _by_chance(way: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    options = chance.choice(disks.OPTIONS)
    with bench.scratch() as folder, disk(template(bench), folder, options) as one:
        with bench.place("file", state=one.at / "state", store=one.at / "store") as (place, corner):
            for _ in range(chance.randint(1, 2)):
                _one_cut(way, one, place, book, folder, chance)
            return _after(one, place, corner, book, outcome)


def _one_cut(way: str, one: Disk, place: Place, book: Ledger, folder: Path, chance: random.Random) -> None:
    plans = [ledger.plan(chance.randint(0, 60_000), chance.randint(1, 9_000)) for _ in range(chance.randint(1, 4))]
    if way == "answered":
        child = place.start(work.record(plans, after=lambda: time.sleep(LIMIT_S)))
        child.await_word("committed", 1)  # and nothing is written any more, so nothing else makes it durable
    else:
        child = place.start(work.agent(plans) if chance.random() < 0.6 else work.record(plans, adopt=True))
        time.sleep(chance.random() * LONGEST_S)  # the moment of the cut is by chance
    if way == "copy":
        child.kill(signal.SIGSTOP)
        _stands_still(child.pid)
        copied = one.copy(folder / f"copy-{chance.random()}.img")
        child.kill()
        _hear(book, child.said())
        one.power_on(copied)
        return
    one.cut_power()
    child.kill()
    _hear(book, child.said())
    one.power_on()


def _after(one: Disk, place: Place, corner: object, book: Ledger, outcome: Outcome) -> Outcome:
    assert isinstance(corner, FileCorner)
    judge(book, place, place.drain(), corner.objects(), outcome)
    return outcome


def _hear(book: Ledger, lines: list[dict[str, object]]) -> None:
    for line in lines:
        book.hear(line)


def _stands_still(pid: int) -> None:
    """All its threads are stopped: nobody is within a call any more."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        with suppress(OSError):  # a thread that ends just now
            lines = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
            if {line.rpartition(")")[2].split()[0] for line in lines} <= {"T", "Z", "X"}:
                return
        time.sleep(0.001)
    raise RuntimeError(f"{pid} does not stop")
