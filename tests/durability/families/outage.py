"""Three days without a store, in seconds: captures go on coming, the quota holds, and then all of it is delivered.

Only the clock that the uploader backs off by is not real.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diag import config
from diag.model import MANIFEST
from diag.spool import Spool
from diag.upload.stores import open_store
from diag.upload.uploader import Uploader
from durability import clock, ledger, work
from durability.bench import Bench
from durability.front import Fault
from durability.judge import check_children, check_identity, judge
from durability.ledger import Ledger
from durability.place import Place
from durability.trial import Outcome, Trial
from durability.work import Say

STORES = ("s3", "oss", "http")
DAYS_S = 3 * 86400
OUTAGE_S = 4.0
BACK_WITHIN_S = 300.0
QUOTA_MB = 2
CRASHES, PROFILES = 20, 20
RECORDED = "recorded"
_EVER = 10_000_000


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """The store is unreachable, or answers 503, on each store in turn."""
    faults = (Fault("refused", 1, _EVER), Fault("status", 1, _EVER, 503), Fault("status", 1, _EVER, 500, xml=False))
    return [
        Trial("outage", f"{STORES[n % 3]}/{n}", seed, partial(_run, STORES[n % 3], faults[n // 3 % 3]))
        for n in range(count)
    ]


def _run(store: str, fault: Fault, bench: Bench, chance: random.Random) -> Outcome:
    outcome, book = Outcome(), Ledger()
    kinds = ["crash"] * CRASHES + ["profile"] * PROFILES
    chance.shuffle(kinds)
    quota = {"DIAG_SPOOL_QUOTA_MB": str(QUOTA_MB)}
    with bench.place(store, through_front=True, variables=quota) as (place, corner):
        bench.front.play(corner.endpoint, [fault])
        child = place.start(_three_days(kinds))
        time.sleep(OUTAGE_S)  # the outage, and not a wait for anything
        # What the quota takes while it is being sent is sent all the same, and a kill then finds it in the store.
        if not _until((place.home / RECORDED).exists):
            outcome.broken.append(f"the captures of three days are not recorded after {BACK_WITHIN_S} s")
        outcome.hit = len(bench.front.asked()) > 10  # it has tried again and again
        _check_room(place, outcome)
        waited = place.waiting()
        bench.front.play(corner.endpoint, [])
        if not _until(lambda: not place.waiting()):
            outcome.broken.append(
                f"{len(place.waiting())} captures are not delivered {BACK_WITHIN_S} s after the outage"
            )
        asked = _manifests(bench.front.asked())
        child.kill()
        for line in child.said():
            book.hear(line)
        check_children(place, {"the agent": 70 if child.status == 70 else 0}, outcome)
        look = place.drain()
        check_identity(look, outcome)
        _check_order(book, asked, set(waited), outcome)
        judge(book, place, look, corner.objects(), outcome, excuses=("quota",))
        crashes = {one for one in book.acknowledged if book.plans[one].kind == "crash"}
        stored = {key.split("/")[-2] for key in corner.objects()}
        outcome.lost += [f"the crash {one} went for a profile" for one in sorted(crashes - stored)]
        return outcome


def _three_days(kinds: list[str]) -> work.Work:
    def does(say: Say) -> int:
        clock.run_faster(DAYS_S / OUTAGE_S)
        settings = config.load()
        spool = Spool.of(settings)
        uploader = Uploader(spool, open_store(settings.store_url, settings.token), settings.tenant)
        uploader.start()
        for kind in kinds:
            size = 12_000 if kind == "crash" else 200_000
            work.record_one(spool, ledger.plan(size, kind=kind), say)
            uploader.wake()
            time.sleep(0.9 * DAYS_S / len(kinds))
        Path(os.environ["HOME"], RECORDED).touch()
        while True:
            time.sleep(DAYS_S)

    return does


def _manifests(asked: list[dict[str, Any]]) -> list[str]:
    """The paths of the manifests that were sent, in order."""
    return [one["path"] for one in asked if one["method"] == "PUT" and one["path"].endswith(MANIFEST)]


def _check_room(place: Place, outcome: Outcome) -> None:
    taken = place.taken_bytes("diag/spool")
    if taken > QUOTA_MB * 1024 * 1024:
        outcome.broken.append(f"the spool takes {taken} bytes, beyond its quota")


def _check_order(book: Ledger, asked: list[str], waited: set[str], outcome: Outcome) -> None:
    """Of what waited, crashes were sent before profiles; a few may be on their way side by side."""
    order = [one for path in asked if (one := path.split("/")[-2]) in waited]
    order = [one for one in dict.fromkeys(order) if one in book.plans]
    kinds = [book.plans[one].kind for one in order]
    crashes = kinds.count("crash")
    late = [number for number, kind in enumerate(kinds) if kind == "crash" and number >= crashes + 8]
    if late:
        outcome.broken.append(f"crashes were sent after profiles: {kinds}")


def _until(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + BACK_WITHIN_S
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
