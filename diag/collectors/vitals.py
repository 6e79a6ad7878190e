"""Whether a process could run at all: stopped, traced, frozen, without a processor. Cheap, and nothing is woken for it.

Formats: proc_pid_stat(5), proc_pid_status(5), the kernel's Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

from diag.collectors import cgroup
from diag.collectors.procfs import ProcFolder, parse_stat, parse_task
from diag.collectors.syscalls import Call, call_of
from diag.evidence import Ran

THREADS = 64
_STOPPED, _TRACED = "T", "t"
_EXIT_CODE = 49  # of a stopped process the signal that stopped it, for who may trace it, since Linux 6.6
_STOPPING = (19, 20, 21, 22)


@dataclass(frozen=True, slots=True)
class Vitals:
    """Who keeps the process from running; empty where nobody does.

    Of a stopped one also by which signal, where that is known, and how many turns its main thread has ever had.
    """

    standing: str = ""  # "stopped", "traced", "frozen"
    signal: int | None = None
    turns: int = 0


def vitals(folder: ProcFolder, *, closely: bool) -> Vitals:
    """One look; without `closely` at the process's state alone. Raises OSError where it is gone."""
    fields = parse_stat(folder.small("stat"))[1]
    if fields[0] == _STOPPED:
        code = int(fields[_EXIT_CODE]) if len(fields) > _EXIT_CODE else 0
        return Vitals("stopped", code if code in _STOPPING else None, _turns(folder))
    if fields[0] == _TRACED:
        return Vitals("traced")
    if closely and _tracer(folder):
        return Vitals("traced")
    if closely and cgroup.frozen(folder.text("cgroup")):
        return Vitals("frozen")
    return Vitals()


def ran(folder: ProcFolder) -> dict[int, Ran]:
    """What the scheduler has counted of each thread so far; without those that ended meanwhile. Raises OSError."""
    found = {}
    for name in folder.names("task")[:THREADS]:
        try:
            words = folder.small(f"task/{name}/schedstat").split()
            found[int(name)] = Ran(int(words[0]) / 1e9, int(words[1]) / 1e9, int(words[2]))
        except (OSError, IndexError, ValueError):
            continue
    return found


def between(before: dict[int, Ran], after: dict[int, Ran]) -> dict[int, Ran]:
    """What each thread of both did in between."""
    return {
        id_: Ran(two.cpu_s - one.cpu_s, two.starved_s - one.starved_s, two.turns - one.turns)
        for id_, two in after.items()
        if (one := before.get(id_)) is not None
    }


def rests(folder: ProcFolder, thread_id: int) -> tuple[Call | None, int] | None:
    """The system call that a thread is in, and how often it has gone to sleep; None where it cannot be read."""
    try:
        _, _, voluntary, _ = parse_task(folder.small(f"task/{thread_id}/status"))
    except (OSError, ValueError):
        return None
    return call_of(folder, thread_id), voluntary


def _turns(folder: ProcFolder) -> int:
    words = folder.small("schedstat").split()
    return int(words[2]) if len(words) > 2 else 0


def _tracer(folder: ProcFolder) -> int:
    for line in folder.small("status").splitlines():
        if line.startswith(b"TracerPid:"):
            return int(line.split()[1])
    return 0
