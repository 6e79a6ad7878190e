"""What `diag profile` costs its target, beside the bare profilers, and how many of its stacks were never there."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measure import DIAG, PROGRAMS, Table, by_chance, cpu_s, descendants, median, scratch, started

from diag.collectors import external
from diag.profiles import formats
from diag.profiles.model import Profile, SampleType
from diag.profiles.ticks import ticks

BARE = "nothing"
# Pairs that call each other nowhere in alternating.py.
MIXED = ({"left", "right"}, {"left", "right_leaf"}, {"right", "left_leaf"})


def measure(*, quick: bool) -> list[Table]:
    """A target that computes and one that serves requests, at 100 and at 1000 Hz; all variants in turns."""
    seconds, rounds = (3, 1) if quick else (8, 3)
    return [_table(rate, kind, seconds, rounds) for kind in ("computes", "serves") for rate in (100, 1000)]


def _table(rate: int, kind: str, seconds: int, rounds: int) -> Table:
    speeds: dict[str, list[float]] = {}
    costs: dict[str, list[tuple[float, float]]] = {}
    wrong: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in by_chance(_variants(1, rate, seconds, Path("/"))):
            with scratch() as environment, _target(kind, environment) as (pid, work):
                speed, cpu, memory, stacks = _one(name, pid, rate, seconds, environment, work)
            speeds.setdefault(name, []).append(speed)
            costs.setdefault(name, []).append((cpu, memory))
            wrong.setdefault(name, []).append(stacks)
    bare = median(speeds[BARE])
    rows = [
        (
            name,
            f"{median(speeds[name]) / bare:.2f}",
            f"{median(cost[0] for cost in costs[name]) / seconds:.2f}",
            f"{median(cost[1] for cost in costs[name]):.0f}",
            f"{median(wrong[name]) * 100:.1f} %" if wrong[name][0] >= 0 else "",
        )
        for name in _variants(1, rate, seconds, Path("/"))
    ]
    unit = "rounds" if kind == "computes" else "requests"
    notes = [
        f"speed: {unit} for each CPU second of the target, against nothing. CPU: cores that the tool used,",
        "its start and the writing included. MB: its largest process.",
        "wrong stacks: those that mix two functions which never call each other.",
    ]
    columns = ("", "speed", "CPU", "MB", "wrong stacks")
    return Table(f"Profile of a process that {kind}, {rate} Hz", columns, rows, notes)


def _variants(pid: int, rate: int, seconds: int, out: Path) -> dict[str, Sequence[str]]:
    who, where, long = ("--pid", str(pid)), str(out), str(seconds)
    ours = (*DIAG, "profile", str(pid), "-d", long, "-r", str(rate), "-o", where)
    spy = ("py-spy", "record", *who, "-o", where, "-f", "chrometrace", "-d", long, "-r", str(rate), "-t")
    kernel = ("perf", "record", "-q", "-e", "cpu-clock")
    found: dict[str, Sequence[str]] = {
        BARE: ("sleep", long),
        "diag profile --engine austin": (*ours, "--engine", "austin"),
        "diag profile --engine py-spy": (*ours, "--engine", "py-spy"),
        "diag profile --engine perf": (*ours, "--engine", "perf"),
        "py-spy": spy,
        "py-spy --nonblocking": (*spy, "--nonblocking"),
        "austin": ("austin", *who, "-b", "-o", where, "-i", str(1_000_000 // rate), "-x", long),
        "perf record -g": (*kernel, "-F", str(rate), "-g", "-o", where, *who, "--", "sleep", long),
    }
    return {name: command for name, command in found.items() if _there(name)}


def _there(name: str) -> bool:
    tool = next((tool for tool in ("austin", "perf", "py-spy") if tool in name.split()), None)
    return tool is None or external.find(tool) is not None


@contextmanager
def _target(kind: str, environment: dict[str, str]) -> Iterator[tuple[int, Callable[[], float]]]:
    """(pid, what it has done until now)."""
    tests = PROGRAMS.parents[1] / "tests" / "programs"
    if kind == "computes":
        with started([sys.executable, str(PROGRAMS / "rounds.py")], environment) as child:
            assert child.stdout is not None
            child.stdout.readline()
            counter = Path(environment["HOME"]) / "rounds"
            yield child.pid, lambda: float(counter.read_text() or 0)
        return
    with started([sys.executable, str(tests / "web_wsgi.py")], environment) as child:
        assert child.stdout is not None
        port, done, enough = int(child.stdout.readline()), [0], threading.Event()

        def ask() -> None:
            while not enough.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
                done[0] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield child.pid, lambda: float(done[0])
        finally:
            enough.set()
            thread.join()


def _one(
    name: str, pid: int, rate: int, seconds: int, environment: dict[str, str], work: Callable[[], float]
) -> tuple[float, float, float, float]:
    """(speed of the target, CPU seconds and MB of the tool, share of wrong stacks or -1)."""
    folder = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    try:
        out = folder / "out"
        command = list(_variants(pid, rate, seconds, out)[name])
        command[0] = external.find(command[0]) or command[0]
        computes = (Path(environment["HOME"]) / "rounds").exists()
        before, cpu = work(), cpu_s([pid])
        with (folder / "said").open("wb") as said:
            child = os.posix_spawn(command[0], command, environment, file_actions=_quiet(said.fileno()))
        used, peak = _attend(child)
        speed = (work() - before) / (cpu_s([pid]) - cpu)
        stacks = _wrong(out, rate) if computes and out.exists() and "perf" not in name else -1.0
        return speed, used, peak, stacks
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _attend(child: int) -> tuple[float, float]:
    """(CPU seconds, MB of the largest process) of the tool and all below it, when it has ended.

    The kernel's own `ru_maxrss` counts what this process was before the tool took its place.
    """
    peak = 0
    while True:
        for pid in descendants(child):
            with contextlib.suppress(OSError, IndexError):
                peak = max(peak, int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]))
        found, _, usage = os.wait4(child, os.WNOHANG)
        if found:
            return usage.ru_utime + usage.ru_stime, peak * 1024 / 1e6
        time.sleep(0.05)


def _quiet(descriptor: int) -> list[tuple[int, int, int]]:
    return [(os.POSIX_SPAWN_DUP2, descriptor, 1), (os.POSIX_SPAWN_DUP2, descriptor, 2)]


def _wrong(path: Path, rate: int) -> float:
    """The share of stacks that the program cannot have had."""
    content = path.read_bytes()
    one: Profile = formats.read(content)
    if formats.detect(content) == "chrometrace":
        one = ticks(one, SampleType("cpu", "nanoseconds"), round(1e9 / rate))
    names = [{frame.function for frame in one.frames_of(index)} for index in range(len(one))]
    return sum(any(pair <= found for pair in MIXED) for found in names) / max(1, len(names))
