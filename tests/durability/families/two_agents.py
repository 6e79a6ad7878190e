"""Several agents and flushes on one spool at once, and one of them killed."""

from __future__ import annotations

import random
import time
from functools import partial

from durability import ledger, work
from durability.bench import Bench
from durability.judge import check_children, judge
from durability.ledger import Ledger
from durability.stores import KINDS
from durability.trial import Outcome, Trial

LONGEST_S = 0.3


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """As many as are asked for, on each store in turn."""
    return [
        Trial("two-agents", f"{KINDS[n % len(KINDS)]}/{n}", seed, partial(_run, KINDS[n % len(KINDS)]))
        for n in range(count)
    ]


def _run(kind: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    with bench.place(kind) as (place, corner):
        agents = [_agent(chance) for _ in range(2)]
        children = [place.start(one, gated=True) for one in (*agents, work.flush)]
        chance.shuffle(children)
        for child in children:
            child.go()
        time.sleep(chance.random() * LONGEST_S)  # the moment of the fault is by chance
        children[0].kill()
        for number, child in enumerate(children):
            child.wait()
            for line in child.said():
                book.hear(line)
            if child.hung:
                outcome.broken.append(f"child {number} hangs: {place.log()}")
            check_children(place, {f"child {number}": child.status or 0}, outcome)
        return judge(book, place, place.drain(), corner.objects(), outcome)


def _agent(chance: random.Random) -> work.Work:
    plans = [ledger.plan(chance.randint(0, 60_000), chance.randint(1, 9_000)) for _ in range(chance.randint(2, 6))]
    return work.agent(plans, pause_s=chance.random() * 0.02)
