"""A store that says no, breaks off, loses answers and lies, at each request of a delivery."""

from __future__ import annotations

import itertools
import random
from functools import partial

from durability import ledger
from durability.bench import Bench
from durability.families.kill_steps import written
from durability.front import Fault
from durability.judge import check_children, check_identity, judge
from durability.trial import Outcome, Trial

REMOTE = ("s3", "oss", "http")
STATUSES = (403, 404, 408, 409, 429, 500, 503)
SMALL, BIG = (900, 30_000), (17 * 1024 * 1024 + 3,)
_EVER = 100_000


def _kinds() -> list[tuple[str, Fault]]:
    """Each fault once, with its name; `at` and `times` are set later."""
    found = []
    for status in STATUSES:
        found += [
            (f"{status}-xml", Fault("status", 1, status=status)),
            (f"{status}-bare", Fault("status", 1, status=status, xml=False)),
        ]
    found += [
        ("429-later", Fault("status", 1, status=429, retry_after="1")),
        ("503-later", Fault("status", 1, status=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")),
        ("500-done", Fault("late-status", 1, status=500)),
        ("503-done", Fault("late-status", 1, status=503)),
    ]
    plain = ("lost", "refused", "cut-request", "cut-answer", "short-answer", "etag", "page", "late-page", "slow")
    return found + [(kind, Fault(kind, 1)) for kind in plain]


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Each fault at each request of each store, once, three times and until the end; by chance where that is too many.

    A sixth are scripts of several faults, a twelfth are faults among parts.
    """
    chance = random.Random(f"{seed}/store-fault")
    mixed, parts = count // 6, count // 12
    every = [
        (store, name, fault, at, times)
        for (name, fault), store, at, times in itertools.product(_kinds(), REMOTE, range(1, 10), (1, 3, _EVER))
    ]
    wanted = max(0, count - mixed - parts)
    found = [_one(seed, SMALL, *one) for one in (every if len(every) <= wanted else chance.sample(every, wanted))]
    return found + [_in_parts(seed, number) for number in range(parts)] + [_script(seed, n) for n in range(mixed)]


def _in_parts(seed: int, number: int) -> Trial:
    """A fault among the parts of a big file."""
    chance, store = random.Random(f"{seed}/parts/{number}"), REMOTE[number % 2]
    name, fault = chance.choice([("vanish", Fault("vanish", 1)), *_kinds()])
    at, times = (1, _EVER) if name == "vanish" else (chance.randint(1, 7), chance.choice((1, 2)))
    return _one(seed, BIG, store, f"parts-{number}-{name}", fault, at, times)


def _script(seed: int, number: int) -> Trial:
    """Several faults in one delivery."""
    chance, store = random.Random(f"{seed}/script/{number}"), REMOTE[number % 3]
    faults = [_at(chance.choice(_kinds())[1], at, 1) for at in sorted(chance.sample(range(1, 16), 5))]
    return Trial("store-fault", f"{store}/script-{number}", seed, partial(_run, store, SMALL, tuple(faults)))


def _one(seed: int, sizes: tuple[int, ...], store: str, name: str, fault: Fault, at: int, times: int) -> Trial:
    shown = "ever" if times == _EVER else f"x{times}"
    run = partial(_run, store, sizes, (_at(fault, at, times),))
    return Trial("store-fault", f"{store}/{name}-at-{at}-{shown}", seed, run)


def _at(fault: Fault, at: int, times: int) -> Fault:
    return Fault(fault.kind, at, times, fault.status, fault.xml, fault.retry_after)


def _run(store: str, sizes: tuple[int, ...], faults: tuple[Fault, ...], bench: Bench, chance: random.Random) -> Outcome:
    outcome = Outcome()
    with bench.place(store, through_front=True) as (place, corner):
        bench.front.play(corner.endpoint, [])
        book = written(place, [ledger.plan(*sizes) for _ in range(1 if sizes is BIG else 2)])
        bench.front.play(corner.endpoint, list(faults), corner.variables)
        for _ in range(2):
            found = place.flush()
            check_identity(found, outcome)
            check_children(place, {"diag flush": found.status}, outcome)
        outcome.hit = any(one["fault"] for one in bench.front.asked())
        bench.front.play(corner.endpoint, [])
        # Who is told 409 by a viewer cannot know better than to set the capture aside, with its reason.
        told = None if store == "http" and any(one.status == 409 for one in faults) else ()
        return judge(book, place, place.drain(), corner.objects(), outcome, aside=told)
