"""How much CPU time the threads of some processes have used by when, read from outside while a profiler looks at them.

Source: `schedstat` of the kernel's Documentation/scheduler/sched-stats.rst, nanoseconds on a processor come first.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from diag.collectors.thread_ids import with_kernel_ids
from diag.evidence import Thread

EVERY_S = 0.004  # the kernel's own clock hardly ticks faster
READS_PER_S = 1000  # of all threads together, for about 1 % of a processor
NEW_THREADS_EVERY_S = 0.2
_Key = tuple[int, int]  # pid and thread


class Clock:
    """The CPU time that one thread has used by some moments."""

    def __init__(self) -> None:
        self._moments, self._used = array("q"), array("q")

    def note(self, moment_ns: int, used_ns: int) -> None:
        """It has used so much by then."""
        if len(self._used) > 1 and self._used[-2] == self._used[-1] == used_ns:
            self._moments[-1] = moment_ns  # it rests
            return
        self._moments.append(moment_ns)
        self._used.append(used_ns)

    def between(self, start_ns: int, end_ns: int) -> float:
        """What it used from one moment to another."""
        return self._at(end_ns) - self._at(start_ns)

    def _at(self, moment_ns: int) -> float:
        after = bisect_right(self._moments, moment_ns)
        if after in (0, len(self._moments)):
            return float(self._used[0 if not after else -1])
        began, used = self._moments[after - 1], self._used[after - 1]
        share = (moment_ns - began) / (self._moments[after] - began)
        return used + share * (self._used[after] - used)


class CpuClocks:
    """Reads the clocks of all threads of these processes, from `with` on to its end."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._clocks: dict[_Key, Clock] = {}
        self._present: list[_Key] = []
        self._listed_ns = 0
        self._numbers: dict[_Key, int | None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="cpu clocks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def ran_ns(self, pid: int, thread_id: int, start_ns: int, end_ns: int) -> float | None:
        """CPU time of the thread from one moment to another, in nanoseconds since 1970.

        That of its whole process where the thread, by the number that the process knows it by, is not found; None where
        nothing is known of either.
        """
        key = pid, thread_id
        if key not in self._numbers:
            self._numbers[key] = self._number(pid, thread_id)
        number = self._numbers[key]
        found = [clock for (of, tid), clock in self._clocks.items() if of == pid and number in (tid, None)]
        return sum(clock.between(start_ns, end_ns) for clock in found) if found else None

    def _number(self, pid: int, thread_id: int) -> int | None:
        """The kernel's number of the thread, if it has a clock here."""
        number = with_kernel_ids(pid, [Thread(thread_id)])[0].thread_id
        return number if (pid, number) in self._clocks else None

    def _read(self) -> None:
        while True:
            if time.time_ns() - self._listed_ns > NEW_THREADS_EVERY_S * 1e9:
                self._list()
            for key in self._present:
                self._note(key)
            if self._ended.wait(max(EVERY_S, len(self._present) / READS_PER_S)):
                return

    def _list(self) -> None:
        moment, before = time.time_ns(), set(self._present)
        self._present = [(pid, thread) for pid in self._pids for thread in _threads(pid)]
        if self._listed_ns:  # who is new has begun since the last time
            for key in set(self._present) - before - set(self._clocks):
                self._clocks[key] = Clock()
                self._clocks[key].note(self._listed_ns, 0)
        self._listed_ns = moment

    def _note(self, key: _Key) -> None:
        try:
            used = int(Path(f"/proc/{key[0]}/task/{key[1]}/schedstat").read_bytes().split()[0])
        except (OSError, IndexError, ValueError):
            return  # the thread has ended
        if used:  # a kernel that does not count says nothing but zeros
            self._clocks.setdefault(key, Clock()).note(time.time_ns(), used)


def _threads(pid: int) -> list[int]:
    try:
        return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
