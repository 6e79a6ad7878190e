"""What the measurements share: a scratch machine, processes that are always reaped, costs read from outside, tables."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
DIAG = (sys.executable, "-m", "diag")
PATIENCE_S = 30.0
CHANCE = random.Random(1)


@dataclass(frozen=True)
class Table:
    """One measurement as it is printed: the first column is text, the others are numbers or verdicts."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table, aligned, with its notes below."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        shown = [self.title, ""]
        for line in lines:
            cells = [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
            shown.append("  " + "   ".join(cells).rstrip())
        return "\n".join([*shown, *(f"  {note}" for note in self.notes), ""])


@contextmanager
def scratch() -> Iterator[dict[str, str]]:
    """The environment of a machine of its own, whose HOME is removed at the end. Nothing of the caller's reaches it.

    The name is short because a Unix socket's path ends at 107 bytes.
    """
    home = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    (home / "run").mkdir(mode=0o700)
    try:
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
        }
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def started(command: Iterable[str], environment: dict[str, str], **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended when the block has, asked first and then killed. Its stderr goes to `$HOME/stderr`."""
    with (Path(environment["HOME"]) / "stderr").open("ab") as errors:
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, **popen}
        process = subprocess.Popen(list(command), env=environment, start_new_session=True, **options)
    tree = [process.pid]
    try:
        yield process
        tree = descendants(process.pid)
    finally:
        _end(process, tree)


def _end(process: subprocess.Popen[bytes], tree: list[int]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    # The session is ours alone, so the group's number cannot mean anybody else before its leader is reaped.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait(PATIENCE_S)
    with contextlib.suppress(SystemExit):
        wait_for(lambda: not any(map(_runs, tree)), "every process to end", limit_s=5)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def wait_for(happened: Callable[[], bool], what: str, *, limit_s: float = PATIENCE_S) -> None:
    """Wait until it has happened. Ends the run after the limit."""
    until = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > until:
            raise SystemExit(f"Waited {limit_s:.0f} s in vain for {what}.")
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """The process and all below it, parents first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_bytes().rpartition(b")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def attend(command: Sequence[str], environment: dict[str, str], said: Path) -> tuple[float, float]:
    """(CPU seconds, MB of the largest process) of a tool and all below it, run to its end; it says all into a file.

    The kernel's own `ru_maxrss` counts what this process was before the tool took its place.
    """
    peak = 0
    with said.open("wb") as file:
        path = shutil.which(command[0], path=environment["PATH"]) or command[0]
        quiet = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number in (1, 2)]
        child = os.posix_spawn(path, command, environment, file_actions=quiet)
    while True:
        for pid in descendants(child):
            with contextlib.suppress(OSError, IndexError):
                peak = max(peak, int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]))
        found, _, usage = os.wait4(child, os.WNOHANG)
        if found:
            return usage.ru_utime + usage.ru_stime, peak * 1024 / 1e6
        time.sleep(0.05)


def cpu_s(pids: Iterable[int]) -> float:
    """User and system CPU seconds of all threads of these processes, to the nanosecond.

    The clock of another process is `~pid << 3 | CPUCLOCK_SCHED`, as clock_getcpuclockid(3) builds it.
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def rest(pid: int, *, quiet_s: float = 0.1) -> None:
    """Wait until the process and all below it use no CPU any more: what starts in the background has started."""
    last, since = -1.0, time.monotonic()
    until = since + PATIENCE_S
    while time.monotonic() - since < quiet_s and time.monotonic() < until:
        time.sleep(0.01)
        with contextlib.suppress(OSError):
            used = cpu_s(descendants(pid))
            if used - last > 0.0005:
                last, since = used, time.monotonic()


def memory_mb(pid: int) -> tuple[float, float, float]:
    """RSS, PSS and private memory of a process, in MB of a million bytes; see proc_pid_smaps(5)."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            sizes[name] = int(value.split()[0]) * 1024 / 1e6
    return sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def wake_ups(pid: int) -> int:
    """How often the threads of a process have been given a CPU, ever."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def by_chance(names: Iterable[str]) -> list[str]:
    """The names in another order each time, the same ones in every run: who comes after whom matters too."""
    listed = list(names)
    return CHANCE.sample(listed, len(listed))


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def spread(values: list[float]) -> float:
    """Half of the range that holds the middle half of the values; 0 for fewer than four."""
    if len(values) < 4:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def at_most(value: float, budget: float, unit: str) -> str:
    """The verdict of a budget that must not be passed."""
    return f"≤ {budget:g} {unit}: {'ok' if value <= budget else 'MISSED'}"


def at_least(value: float, budget: float) -> str:
    """The verdict of a ratio that must be reached."""
    return f"≥ {budget:g}: {'ok' if value >= budget else 'MISSED'}"
