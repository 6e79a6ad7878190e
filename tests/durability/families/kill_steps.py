"""kill -9 at each step of writing, sending, recovering and making room, one trial a step."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from durability import ledger, work
from durability.bench import Bench
from durability.judge import check_children, check_identity, check_store, judge
from durability.ledger import Ledger, Plan
from durability.place import NOWHERE, Place
from durability.steps import DISK, NETWORK, Step, kill_at, steps
from durability.trial import EVERY, Outcome, Trial
from durability.work import Work

SIZES = (900, 40_000)


@dataclass(frozen=True, slots=True)
class Scene:
    """A process to be killed: what was there before it, and what it does."""

    store: str
    calls: str
    before: Callable[[Place], Ledger]
    work: Callable[[], Work]
    variables: tuple[tuple[str, str], ...] = ()
    excuses: tuple[str, ...] = ()


def _nothing(place: Place) -> Ledger:
    return Ledger()


def _two_wait(place: Place) -> Ledger:
    """Two captures wait for the store."""
    return written(place, [ledger.plan(*SIZES), ledger.plan(*SIZES)])


def _big_waits(place: Place) -> Ledger:
    """One capture waits that is sent in parts."""
    return written(place, [ledger.plan(17 * 1024 * 1024 + 5)])


def _orphan(place: Place) -> Ledger:
    """A writer was killed before its manifest, and one capture waits."""
    book = written(place, [ledger.plan(*SIZES)])
    child = place.start(work.record([ledger.plan(*SIZES, 700)]), gated=True)
    kill_at(child, Step("fsync", 9, "orphan"))
    for line in child.said():
        book.hear(line)
    return book


def _full(place: Place) -> Ledger:
    """A quota of 1 MB is nearly used up by what is less urgent."""
    return written(place, [ledger.plan(100_000, kind="profile") for _ in range(8)])


def _long_ledger(place: Place) -> Ledger:
    """The spool's own ledger is so long that it is about to be folded: made once, and copied."""
    made = place.home.parent / "long-ledger"
    if made not in _LONG_LEDGERS:
        old = Place(made, {"DIAG_STORE": (made / "store").as_uri()})
        _LONG_LEDGERS[made] = written(old, [ledger.plan(10) for _ in range(LONG)])
        assert old.drain().pending == 0
    for name in ("state", "store"):
        shutil.copytree(made / name, place.home / name, dirs_exist_ok=True)
    book = written(place, [ledger.plan(10) for _ in range(12)])
    old_book = _LONG_LEDGERS[made]
    book.plans.update(old_book.plans)
    book.begun |= old_book.begun
    book.acknowledged |= old_book.acknowledged
    return book


LONG = 545  # two lines each: a few more, and 56 KB are full
_LONG_LEDGERS: dict[Path, Ledger] = {}
SCENES = {
    "write": Scene("file", DISK, _nothing, lambda: work.record([ledger.plan(*SIZES), ledger.plan(5000)])),
    "adopt": Scene("file", DISK, _nothing, lambda: work.record([ledger.plan(*SIZES)], adopt=True)),
    "send-s3": Scene("s3", f"{DISK},{NETWORK}", _two_wait, lambda: work.flush),
    "send-oss": Scene("oss", f"{DISK},{NETWORK}", _two_wait, lambda: work.flush),
    "send-http": Scene("http", f"{DISK},{NETWORK}", _two_wait, lambda: work.flush),
    "send-file": Scene("file", DISK, _two_wait, lambda: work.flush),
    "parts-s3": Scene("s3", NETWORK, _big_waits, lambda: work.flush),
    "parts-oss": Scene("oss", NETWORK, _big_waits, lambda: work.flush),
    "recover": Scene("file", DISK, _orphan, lambda: work.flush),
    "make-room": Scene(
        "file",
        DISK,
        _full,
        lambda: work.record([ledger.plan(300_000)]),
        (("DIAG_SPOOL_QUOTA_MB", "1"),),
        ("quota",),
    ),
    "agent": Scene("file", DISK, _nothing, lambda: work.agent([ledger.plan(*SIZES) for _ in range(2)])),
    "fold": Scene("file", DISK, _long_ledger, lambda: work.flush),
}
# Of scenes with many like steps not all are taken where the campaign is short.
_HEAVY = {"fold": 24, "parts-s3": 20, "parts-oss": 20}


def written(place: Place, plans: list[Plan]) -> Ledger:
    """These captures, committed by a child that nobody disturbs; the store is out of reach."""
    book = Ledger()
    for line in place.start(work.record(plans), DIAG_STORE=NOWHERE).said():
        book.hear(line)
    assert book.acknowledged >= {one.capture_id for one in plans} or "DIAG_SPOOL_QUOTA_MB" in place.environ, place.log()
    return book


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Every step of every scene, or as many by chance as are asked for."""
    chance = random.Random(f"{seed}/kill-step")
    found = []
    for name, scene in SCENES.items():
        listed = _list(scene, bench)
        heavy = _HEAVY.get(name)
        if heavy and heavy < len(listed) and count < EVERY:
            listed = sorted(chance.sample(listed, heavy), key=lambda step: (step.call, step.number))
        found += [Trial("kill-step", f"{name}/{step.name}", seed, partial(_run, scene, step)) for step in listed]
    return found if len(found) <= count else chance.sample(found, count)


def _list(scene: Scene, bench: Bench) -> list[Step]:
    with bench.place(scene.store, variables=dict(scene.variables)) as (place, _), bench.scratch() as folder:
        scene.before(place)
        return steps(place.start(scene.work(), gated=True), folder / "trace", scene.calls)


def _run(scene: Scene, step: Step, bench: Bench, chance: random.Random) -> Outcome:
    outcome = Outcome()
    with bench.place(scene.store, variables=dict(scene.variables)) as (place, corner):
        book = scene.before(place)
        child = place.start(scene.work(), gated=True)
        outcome.hit = kill_at(child, step)
        for line in child.said():
            book.hear(line)
        check_children(place, {"the child": child.status or 0}, outcome)
        check_store(book, corner.objects(), outcome)
        if chance.random() < 0.3:
            check_identity(place.look(), outcome)
        return judge(book, place, place.drain(), corner.objects(), outcome, excuses=scene.excuses)
