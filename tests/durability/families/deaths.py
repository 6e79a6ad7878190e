"""Real programs that die under a real `diag run`, with the agent killed around it, at a step or at a time of chance.

What was promised is one record of each death, whoever was killed.
"""

from __future__ import annotations

import json
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from states import has_ended

from diag.model import MANIFEST
from durability.bench import Bench
from durability.judge import check_identity
from durability.place import NOWHERE, Place
from durability.steps import Step, attached, killing
from durability.stores import ViewerCorner
from durability.trial import Outcome, Trial

PROGRAM = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
{death}
"""
DEATHS = {
    "exception": "raise ValueError('no price')",
    "abort": "os.abort()",
    "killed": "os.kill(os.getpid(), 9)",
    "segfault": "import ctypes; ctypes.string_at(0)",
}
WAYS = ("left-alone", "agent-first", "by-chance", "at-step", "reboot")
CALLS = ("rename", "unlink", "fsync", "mkdir", "openat", "write", "sendto", "recvfrom", "rmdir", "flock")
LIMIT_S = 300.0  # of what takes seconds; a slow machine may take its time


def trials(count: int, seed: int, bench: Bench) -> list[Trial]:
    """Each death in each way, in turn."""
    kinds = list(DEATHS)
    return [
        Trial(
            "death",
            f"{WAYS[n % len(WAYS)]}/{kinds[n // len(WAYS) % len(kinds)]}-{n}",
            seed,
            partial(_run, WAYS[n % len(WAYS)], kinds[n // len(WAYS) % len(kinds)]),
        )
        for n in range(count)
    ]


def _run(way: str, death: str, bench: Bench, chance: random.Random) -> Outcome:
    outcome = Outcome()
    with bench.place("http" if way == "reboot" else "file") as (place, corner):
        with _running(place, death, NOWHERE if way == "reboot" else "") as (agent, program):
            if way == "at-step":
                outcome.hit = _kill_at_step(agent, program, chance)
            else:
                _die(way, agent, program, chance)
            _await_end(program)
        if way == "reboot":
            place.kill_all()
            shutil.rmtree(place.run_dir)
            place.run_dir.mkdir()
        look = place.drain()
        check_identity(look, outcome)
        manifests = [json.loads(data) for key, data in corner.objects().items() if key.endswith(f"/{MANIFEST}")]
        crashes = [one for one in manifests if one["kind"] == "crash"]
        if not crashes:
            outcome.lost.append(f"the death left no record: {look.said!r} {place.log()!r}")
        elif len(crashes) > 1:
            said = [(one["level"], one["trigger"], one["title"]) for one in crashes]
            outcome.doubled.append(f"the death left {len(crashes)} records: {said}")
        if look.account and look.account["stored"] != len(manifests):
            outcome.uncounted.append(f"{len(manifests)} are stored: {look.account}")
        if look.pending:
            outcome.broken.append(f"the spool does not drain: {look.said!r}")
        if isinstance(corner, ViewerCorner) and crashes:
            listed = corner.listed().count(crashes[0]["capture_id"])
            if listed != 1:
                outcome.lost.append(f"the viewer lists it {listed} times")
        return outcome


@contextmanager
def _running(place: Place, death: str, store: str) -> Iterator[tuple[subprocess.Popen[bytes], Program]]:
    command = [sys.executable, "-m", "diag", "run", "--name", "shop", "--", sys.executable, "-c"]
    environ = {**place.environ, **({"DIAG_STORE": store} if store else {})}
    with (place.home / "children.log").open("ab") as log:
        agent = subprocess.Popen(
            [*command, PROGRAM.format(death=DEATHS[death])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environ,
            start_new_session=True,
        )
    assert agent.stdin is not None and agent.stdout is not None
    try:
        if agent.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the program did not start: {place.log()}")
        _await(place.published)  # an agent killed before that leaves nothing (docs/limits.md)
        yield agent, Program(agent)
    finally:
        agent.kill()
        agent.wait()
        agent.stdin.close()
        agent.stdout.close()


class Program:
    """The program below an agent, which may outlive it."""

    def __init__(self, agent: subprocess.Popen[bytes]) -> None:
        assert agent.stdin is not None and agent.stdout is not None
        self._input, self._output = agent.stdin, agent.stdout
        pids = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        own = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
        # The guard is a fork of the agent, and has its command line.
        self.pid = next(int(pid) for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes() != own)

    def die(self) -> None:
        """Let it go on to its end."""
        self._input.write(b"\n")
        self._input.flush()

    def await_end(self) -> None:
        """Its standard output is closed, so it is gone."""
        if not select.select([self._output], [], [], LIMIT_S)[0] or self._output.read1(1) != b"":  # type: ignore[attr-defined]
            raise RuntimeError("the program does not end")


def _die(way: str, agent: subprocess.Popen[bytes], program: Program, chance: random.Random) -> None:
    if way == "agent-first":
        agent.kill()
        agent.wait()
        program.die()
        return
    program.die()
    if way == "by-chance":
        time.sleep(chance.random() * 0.15)  # the moment of the fault is by chance
        agent.kill()
    agent.wait(LIMIT_S)


def _kill_at_step(agent: subprocess.Popen[bytes], program: Program, chance: random.Random) -> bool:
    step = Step(chance.choice(CALLS), chance.randint(1, 12), "agent")
    with attached(agent.pid, killing(step)):
        program.die()
        agent.wait(LIMIT_S)
    return agent.returncode == -signal.SIGKILL


def _await_end(program: Program) -> None:
    program.await_end()
    _await(lambda: has_ended(program.pid))


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("it did not happen in time")
        time.sleep(0.002)
