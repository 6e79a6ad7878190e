"""What `diag profile` costs its target, beside the bare profilers, and how many of its stacks were never there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import DIAG, Table, attend, by_chance, cpu_s, median, scratch
from targets import TARGETS, Target

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
            with scratch() as environment, TARGETS[kind](environment) as target:
                speed, cpu, memory, stacks = _one(name, target, rate, seconds, environment)
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


def _one(
    name: str, target: Target, rate: int, seconds: int, environment: dict[str, str]
) -> tuple[float, float, float, float]:
    """(speed of the target, CPU seconds and MB of the tool, share of wrong stacks or -1)."""
    folder = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    try:
        out = folder / "out"
        command = _variants(target.pid, rate, seconds, out)[name]
        computes = (Path(environment["HOME"]) / "rounds").exists()
        before, cpu = target.work(), cpu_s([target.pid])
        used, peak = attend(command, environment, folder / "said")
        speed = (target.work() - before) / (cpu_s([target.pid]) - cpu)
        stacks = _wrong(out, rate) if computes and out.exists() and "perf" not in name else -1.0
        return speed, used, peak, stacks
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wrong(path: Path, rate: int) -> float:
    """The share of stacks that the program cannot have had."""
    content = path.read_bytes()
    one: Profile = formats.read(content)
    if formats.detect(content) == "chrometrace":
        one = ticks(one, SampleType("cpu", "nanoseconds"), round(1e9 / rate))
    names = [{frame.function for frame in one.frames_of(index)} for index in range(len(one))]
    return sum(any(pair <= found for pair in MIXED) for found in names) / max(1, len(names))
