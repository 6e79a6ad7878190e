"""What the agent costs beside an instance that does nothing: memory, CPU, wake-ups; and what the probe adds inside."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from measure import (
    DIAG,
    PROGRAMS,
    Table,
    at_most,
    cpu_s,
    descendants,
    memory_mb,
    rest,
    scratch,
    started,
    wait_for,
    wake_ups,
)

AGENT_BUDGET_MB, AGENT_BUDGET_PERCENT = 30.0, 1.0
Figures = tuple[float, float, float, float, float]  # MB RSS, MB PSS, MB private, CPU percent, wake-ups
IDLE = [sys.executable, str(PROGRAMS / "idle.py")]


def measure(*, quick: bool) -> list[Table]:
    """One agent, one instance: as it is started, then after a child of the instance died of SIGSEGV."""
    seconds = 2 if quick else 5
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    rows = []
    with scratch() as environment, started(IDLE, environment) as process:
        rows += _look({"instance alone": _ready(process)}, seconds)
    with scratch() as environment, started([*DIAG, "run", "--", *IDLE], environment) as process:
        instance = _ready(process)
        parts = _parts(process.pid, instance)
        rows += _look(parts, seconds)
        _let_a_child_die(process)
        wait_for(lambda: _stored(Path(environment["HOME"])), "the capture to be stored")
        rest(process.pid, quiet_s=0.5)
        del parts["instance, probed"]
        rows += [(f"{row[0]}, after a crash", *row[1:]) for row in _look(parts, seconds)]
    notes = [
        f"CPU and wake-ups over {seconds} s in which the instance waits for input. One sample: sizes hardly vary.",
        "The RSS of both is the agent's and the guard's private pages: the guard shares the others with the agent.",
    ]
    columns = ("", "MB RSS", "MB PSS", "MB private", "CPU %", "wake-ups", "budget")
    return [Table("Memory and rest: the agent beside an idle instance", columns, rows, notes)]


def _ready(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    rest(process.pid, quiet_s=0.5)
    return pid


def _parts(agent: int, instance: int) -> dict[str, int]:
    others = [pid for pid in descendants(agent) if pid not in (agent, instance)]
    guards = {f"agent's guard{' ' + str(i) if i else ''}": pid for i, pid in enumerate(others)}
    return {"instance, probed": instance, "agent": agent, **guards}


def _look(parts: dict[str, int], seconds: float) -> list[tuple[str, ...]]:
    before = {name: (cpu_s([pid]), wake_ups(pid)) for name, pid in parts.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    found = {}
    for name, pid in parts.items():
        cpu, woken = before[name]
        found[name] = (*memory_mb(pid), (cpu_s([pid]) - cpu) / took * 100, float(wake_ups(pid) - woken))
    rows = [(name, *_cells(figures), "") for name, figures in found.items()]
    return [*rows, _together(found)] if "agent" in found else rows


def _together(found: dict[str, Figures]) -> tuple[str, ...]:
    """What `diag run` costs in all: the guard is a fork of the agent, so only its private pages come on top."""
    agent = found["agent"]
    guards = [figures for name, figures in found.items() if name.startswith("agent's guard")]
    _, pss, private, percent, woken = (sum(column) for column in zip(agent, *guards, strict=True))
    rss = agent[0] + sum(guard[2] for guard in guards)
    verdict = f"{at_most(rss, AGENT_BUDGET_MB, 'MB RSS')}, {at_most(percent, AGENT_BUDGET_PERCENT, '%')}"
    return "agent and guard", *_cells((rss, pss, private, percent, woken)), verdict


def _cells(found: Figures) -> tuple[str, ...]:
    rss, pss, private, percent, woken = found
    return f"{rss:.1f}", f"{pss:.1f}", f"{private:.1f}", f"{percent:.3f}", f"{woken:.0f}"


def _let_a_child_die(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    if process.stdout.readline() != b"died\n":
        raise SystemExit("The child of the instance did not die.")


def _stored(home: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return bool(os.listdir(home / ".local/state/diag/spool/completed"))  # noqa: PTH208
    return False
