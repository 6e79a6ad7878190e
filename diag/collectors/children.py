"""A process and its descendants, and tools that are run once for each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from diag.collectors import external
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Subject, Watch
from diag.collectors.proc import list_processes
from diag.collectors.runtime import runtime_of
from diag.errors import NoSuchInstance

GRACE_S = 20.0


def with_descendants(pid: int) -> list[int]:
    """The process, and all that it started that still run, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for listed in list_processes():
        children[listed.parent_pid].append(listed.pid)
    found = [pid]
    for one in found:
        found += children[one]
    return found


def pythons(subject: Subject, *, subprocesses: bool) -> list[int]:
    """The process, and where it is asked for those of its descendants that are Python as well."""
    if not subprocesses:
        return [subject.pid]
    return [pid for pid in with_descendants(subject.pid) if pid == subject.pid or _is_python(pid)]


def _is_python(pid: int) -> bool:
    try:
        return runtime_of(pid).startswith("python")
    except NoSuchInstance:
        return False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a tool wrote of one process; the file is not there where it had nothing, or failed."""

    pid: int
    path: Path
    ran: external.Ran


def record_each(
    pids: Sequence[int], command: Callable[[int, Path], Sequence[str]], path: Path, asked: ProfileAsked, watch: Watch
) -> list[Recorded]:
    """Run the tool once for each process, side by side, until the time is over or it is enough.

    The tools can follow children by themselves. But forks share their threads' numbers, by which py-spy tells its
    stacks apart, and austin's one file has the clocks of all processes in turn, so that no moment in it is right.
    """

    def enough(elapsed_s: float) -> bool:
        of = f" of {len(pids)} processes" if len(pids) > 1 else ""
        watch.show(elapsed_s / asked.duration_s, f"about {int(elapsed_s * asked.rate_hz)} samples{of}")
        return watch.stop.is_set()

    def one(pid: int) -> Recorded:
        file = path.with_name(f"{path.name}.{pid}")
        ran = external.record(
            command(pid, file),
            limit_s=asked.duration_s + GRACE_S,
            grace_s=GRACE_S,
            enough=enough,
            environment={"RUST_BACKTRACE": "0"},
        )
        return Recorded(pid, file, ran)

    with ThreadPoolExecutor(len(pids)) as pool:
        try:
            return list(pool.map(one, pids))
        except BaseException:  # a second Ctrl-C, say: the pool waits for its threads, and they for their tools
            watch.stop.set()
            raise
