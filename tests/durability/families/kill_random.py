"""kill -9 of agents and of `diag flush` at times of chance, up to three times on one spool."""

from __future__ import annotations

import random
import time
from functools import partial

from durability import ledger, work
from durability.bench import Bench
from durability.judge import check_children, check_identity, check_store, judge
from durability.ledger import Ledger
from durability.stores import KINDS
from durability.trial import Outcome, Trial

LONGEST_S = 0.25  # about what an agent's work below takes


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """As many as are asked for, on each store in turn."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    return [Trial("kill-random", f"{kind}/{number}", seed, partial(_run, kind)) for number, kind in enumerate(kinds)]


def _run(kind: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    with bench.place(kind) as (place, corner):
        for _ in range(chance.randint(1, 3)):
            plans = [
                ledger.plan(chance.randint(0, 60_000), chance.randint(1, 9_000)) for _ in range(chance.randint(1, 5))
            ]
            does = work.flush if chance.random() < 0.25 else work.agent(plans, pause_s=chance.random() * 0.02)
            child = place.start(does)
            time.sleep(chance.random() * LONGEST_S)  # the moment of the fault is by chance
            child.kill()
            for line in child.said():
                book.hear(line)
            check_children(place, {"the agent": child.status or 0}, outcome)
            check_store(book, corner.objects(), outcome)
            if chance.random() < 0.3:
                check_identity(place.look(), outcome)
        return judge(book, place, place.drain(), corner.objects(), outcome)
