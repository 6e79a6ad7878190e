"""How long `diag stacks` takes and for how long its target stands still, beside py-spy and pystack, by threads."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from measure import DIAG, PROGRAMS, Table, at_most, by_chance, median, scratch, started

from diag.collectors import external
from diag.collectors.pause import PauseWatch

BUDGET_MS = 1.0
OURS = "diag stacks"


def measure(*, quick: bool) -> list[Table]:
    """One table: an idle process with 1, 50 and 500 threads, read by each tool in turns."""
    rounds = 3 if quick else 9
    rows = [row for threads in (1, 50, 500) for row in _rows(threads, rounds)]
    notes = [
        "Whole commands with their start, and of ours with what it takes to redact, to keep and to store the capture.",
        "Pause: the kernel's state of the process, sampled 5,000 times a second; it errs to the long side.",
    ]
    columns = ("", "threads", "ms", "against py-spy dump", "pause, ms", "budget of the pause")
    return [Table("Stacks of all threads of an idle process", columns, rows, notes)]


def _rows(threads: int, rounds: int) -> list[tuple[str, ...]]:
    times: dict[str, list[float]] = {}
    pauses: dict[str, list[float]] = {}
    with scratch() as environment:
        command = [sys.executable, str(PROGRAMS / "pool.py"), str(threads)]
        with started(command, environment) as child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(rounds):
                for name in by_chance(_variants(child.pid)):
                    took_s, pause_s = _one(_variants(child.pid)[name], child.pid, environment)
                    times.setdefault(name, []).append(took_s * 1000)
                    pauses.setdefault(name, []).append(pause_s * 1000)
            names = list(_variants(child.pid))
    against = median(times["py-spy dump"])
    return [
        (
            name,
            str(threads),
            f"{median(times[name]):.0f}",
            f"{median(times[name]) / against:.1f}",
            f"{median(pauses[name]):.1f}",
            at_most(median(pauses[name]), BUDGET_MS, "ms") if name == OURS else "",
        )
        for name in names
    ]


def _variants(pid: int) -> dict[str, Sequence[str]]:
    who = ("--pid", str(pid))
    found: dict[str, Sequence[str]] = {
        OURS: (*DIAG, "stacks", str(pid), "--json"),
        "diag stacks --native --locals": (*DIAG, "stacks", str(pid), "--json", "--native", "--locals"),
        "py-spy dump": ("py-spy", "dump", *who),
        "py-spy dump --nonblocking": ("py-spy", "dump", "--nonblocking", *who),
        "pystack remote": ("pystack", "remote", str(pid)),
    }
    tools = {name: external.find(Path(command[0]).name) or command[0] for name, command in found.items()}
    return {
        name: (tools[name], *command[1:])
        for name, command in found.items()
        if "pystack" not in name or external.find("pystack")
    }


def _one(command: Sequence[str], pid: int, environment: dict[str, str]) -> tuple[float, float]:
    """(seconds that it took, seconds that the process stood still)."""
    with PauseWatch(pid) as watch:
        began = time.monotonic()
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
        took_s = time.monotonic() - began
    return took_s, watch.pause_s
