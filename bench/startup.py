"""What a start costs: `python -c pass` alone, with the probe, with sentry-sdk."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import DIAG, PROGRAMS, Table, at_most, by_chance, median, rest, scratch, spread, started

NOISE_FREE = "python of a new virtual environment, so without any .pth file"
READ_MEMORY = "print(open('/proc/self/smaps_rollup').read())"
BREATH_S = 0.02  # between two starts, for the agent to come to rest: its work must not fall on the next one
PROBE_BUDGET_MS, PROBE_BUDGET_MB = 2.0, 1.0


def measure(*, quick: bool) -> list[Table]:
    """Starts in turns, timed from spawn to reaped; the memory of an interpreter that has nothing else to do."""
    samples = 40 if quick else 100
    with scratch() as environment:
        python = empty_python(Path(environment["HOME"]))
        with probed(python, environment) as with_probe:
            variants = _variants(python, environment, with_probe)
            times: dict[str, list[float]] = {name: [] for name in variants}
            for turn in range(samples + 2):
                for name in by_chance(variants):
                    command, variables, share = variants[name]
                    if turn % share == 0:
                        took = _start(command, variables)
                        times[name] += [took] if turn > 1 else []  # the first ones write what Python keeps compiled
            memory = {name: _memory(command, variables) for name, (command, variables, _) in variants.items()}
    return [_table(times, memory, samples)]


def empty_python(home: Path) -> str:
    """The interpreter of a virtual environment with nothing in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True, timeout=60)
    return str(home / "venv/bin/python")


@contextmanager
def probed(python: str, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment that a running agent gives its child."""
    command = [*DIAG, "run", "--name", "idle", "--", python, "-c", "print(flush=True); input()"]
    with started(command, environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        rest(process.pid)
        child = _child_of(process.pid, python)
        given = Path(f"/proc/{child}/environ").read_bytes().rstrip(b"\0").split(b"\0")
        yield dict(variable.decode().split("=", 1) for variable in given)


def _child_of(agent: int, python: str) -> int:
    pids = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    return next(int(pid) for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(python.encode()))


def _variants(
    python: str, environment: dict[str, str], with_probe: dict[str, str]
) -> dict[str, tuple[list[str], dict[str, str], int]]:
    """Command, environment, and how many turns pass from one start to the next."""
    with_sentry = {**environment, "PYTHONPATH": f"{PROGRAMS}:{_sentry_alone(Path(environment['HOME']))}"}
    return {
        "bare": ([python, "-c", "pass"], environment, 1),
        "bare, again": ([python, "-c", "pass"], environment, 1),
        "probe": ([python, "-c", "pass"], with_probe, 1),
        "sentry-sdk": ([python, "-c", "import silent_sentry; silent_sentry.init()"], with_sentry, 4),
        "diag run, whole": ([*DIAG, "run", "--", python, "-c", "pass"], environment, 4),
    }


def _sentry_alone(home: Path) -> Path:
    """A folder with sentry-sdk and what it needs: it would import every framework that it finds."""
    folder = home / "sentry"
    folder.mkdir()
    for name in ("sentry_sdk", "urllib3", "certifi"):
        found = importlib.util.find_spec(name)
        assert found is not None and found.origin is not None
        (folder / name).symlink_to(Path(found.origin).parent)
    return folder


def _start(command: list[str], variables: dict[str, str]) -> float:
    """Milliseconds from spawn to reaped."""
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, variables)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    time.sleep(BREATH_S)
    if status != 0:
        raise SystemExit(f"{command} ended with the wait status {status}.")
    return took * 1000


def _memory(command: list[str], variables: dict[str, str]) -> tuple[float, float] | None:
    """RSS and private memory in MB; None for the agent, which has a table of its own."""
    if command[0] == DIAG[0]:
        return None
    code = READ_MEMORY if command[-1] == "pass" else f"{command[-1]}; {READ_MEMORY}"
    text = subprocess.run(
        [*command[:-1], code], env=variables, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.endswith(" kB")}
    return sizes["Rss"] * 1024 / 1e6, (sizes["Private_Dirty"] + sizes["Private_Clean"]) * 1024 / 1e6


def _table(times: dict[str, list[float]], memory: dict[str, tuple[float, float] | None], samples: int) -> Table:
    bare, bare_memory = median(times["bare"]), memory["bare"] or (0.0, 0.0)
    rows = []
    for name, took in times.items():
        added = median(took) - bare
        sizes = memory[name]
        rss, private = (
            (f"{size - before:.1f}" for size, before in zip(sizes, bare_memory, strict=True)) if sizes else ("", "")
        )
        verdict = ""
        if name == "probe" and sizes:
            time_verdict = at_most(added, PROBE_BUDGET_MS, "ms")
            verdict = f"{time_verdict}, {at_most(sizes[1] - bare_memory[1], PROBE_BUDGET_MB, 'MB private')}"
        rows.append((name, f"{median(took):.2f}", f"±{spread(took):.2f}", f"{added:.2f}", rss, private, verdict))
    return Table(
        "Start-up: python -c pass",
        ("", "ms", "spread", "ms added", "MB RSS added", "MB private added", "budget"),
        rows,
        [
            f"Medians of {samples} starts in turns ({samples // 4} of the last two): {NOISE_FREE}.",
            "`probe`: started below a running agent; `diag run, whole`: until the agent itself has ended.",
        ],
    )
