"""Plans the trials, shares them between workers, and collects what they find."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import viewers

from durability import stores
from durability.bench import Bench
from durability.families import FAMILIES
from durability.front import Front
from durability.stores import Stores
from durability.summary import Summary
from durability.trial import EVERY, Outcome, Trial

WORKERS = 4  # twice the cores of the smallest machine: most of a trial is waiting
_EVERY_S = 5.0


def run(folder: Path, seed: int, count: int, families: Sequence[str], only: str = "") -> Summary:
    """Make the trials of these families, about `count` in all; `only` picks one by its full name."""
    with stores.running(folder) as servers:
        with _bench(folder / "plan", servers) as bench:
            trials = _plan(bench, seed, EVERY if only else count, families)
        if only:
            trials = [one for one in trials if one.full_name == only]
            if not trials:
                raise SystemExit(f"No trial of this seed is called {only}.")
        random.Random(seed).shuffle(trials)  # so that the workers have the same to do, and progress tells the time
        return _share(folder, servers, trials)


def _plan(bench: Bench, seed: int, count: int, families: Sequence[str]) -> list[Trial]:
    total = sum(FAMILIES[name][1] for name in families)
    trials: list[Trial] = []
    for name in families:
        module, share = FAMILIES[name]
        why = module.missing() if hasattr(module, "missing") else ""
        if why and os.environ.get("DIAG_TEST_STRICT") == "1":
            raise SystemExit(f"{name} cannot be tried here: {why}.")
        if why:
            print(f"{name} is left out: {why}.", file=sys.stderr)
            continue
        found = module.trials(max(1, round(count * share / total)), seed, bench)
        print(f"{name}: {len(found)} trials", file=sys.stderr, flush=True)
        trials += found
    return trials


@contextmanager
def _bench(folder: Path, servers: Stores) -> Iterator[Bench]:
    folder.mkdir(parents=True)
    environ = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "viewer-state")}
    front = Front()
    try:
        with viewers.running(folder / "viewer-store", environ=environ) as viewer:
            yield Bench(folder, servers.seen_by(viewer), front)
    finally:
        front.close()


def _share(folder: Path, servers: Stores, trials: list[Trial]) -> Summary:
    summary, began, said_at = Summary(), time.monotonic(), time.monotonic()
    with ExitStack() as stack:
        pipes = {}
        for number in range(WORKERS):
            descriptor, pid = _worker(folder / f"worker-{number}", servers, trials, number)
            stack.callback(_end, pid)
            pipes[descriptor] = stack.enter_context(os.fdopen(descriptor, "rb"))
        done = 0
        while pipes:
            for descriptor in select.select(list(pipes), [], [], 1.0)[0]:
                line = pipes[descriptor].readline()
                if not line:
                    del pipes[descriptor]
                    continue
                index, outcome = json.loads(line)
                summary.add(trials[index], Outcome(**outcome))
                done += 1
                for sentence in Outcome(**outcome).sentences():
                    print(f"{trials[index].full_name}: {sentence}", file=sys.stderr, flush=True)
            if time.monotonic() - said_at > _EVERY_S:
                said_at = time.monotonic()
                _progress(done, len(trials), len(summary.failures), said_at - began)
        if done != len(trials):
            raise SystemExit(f"A worker ended early: {done} of {len(trials)} trials were made.")
    return summary


def _progress(done: int, of: int, failures: int, seconds: float) -> None:
    print(f"{done}/{of} trials, {failures} failed, {seconds:.0f} s", file=sys.stderr, flush=True)


def _worker(folder: Path, servers: Stores, trials: list[Trial], number: int) -> tuple[int, int]:
    found, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(found)
        _work(folder, servers, trials, number, telling)
    os.close(telling)
    return found, pid


def _work(folder: Path, servers: Stores, trials: list[Trial], number: int, telling: int) -> NoReturn:
    try:
        with _bench(folder, servers) as bench:
            for index in range(number, len(trials), WORKERS):
                outcome = _make(trials[index], bench)
                os.write(telling, json.dumps([index, asdict(outcome)]).encode() + b"\n")
    except BaseException:  # noqa: BLE001 - a fork must never return into the campaign
        traceback.print_exc()
    finally:
        os._exit(0)


def _make(trial: Trial, bench: Bench) -> Outcome:
    try:
        return trial.run(bench, trial.chance())
    except Exception:  # noqa: BLE001 - a trial that cannot be made is a failure of its own, and the others go on
        return Outcome(broken=[f"the trial itself failed: {traceback.format_exc()}"])


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
