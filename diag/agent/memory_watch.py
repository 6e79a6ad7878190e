"""Watches the memory of control groups that have a limit, and takes a last look before the kernel ends somebody.

A thread of its own, which starts with the first such group. Where the kernel notifies (version 1) it sleeps until a
share of the limit is passed; elsewhere, and near the limit, it looks by itself, the more often the faster memory grows.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from diag.agent.registry import Target
from diag.agent.watched import Watched, instance_of
from diag.collectors.cgroup import Bound, memory_bound
from diag.collectors.collector import Subject
from diag.errors import DiagError
from diag.evidence import LastLook
from diag.model import Missing, now

BETWEEN_LOOKS_S = 60.0
FASTEST_S, SLOWEST_S = 0.05, 5.0
CLOSES_S = 2.0
SPARED = -500  # proc_pid_oom_score_adj(5): half of the memory less than it takes
_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0)  # of the size at which the look is taken
KEPT = 100
_STEP = 0.01  # of the limit: a smaller change is no sample of its own


@dataclass(slots=True, eq=False)
class Group:
    """The processes of an instance that one limit bounds, and how much memory their group used when."""

    bound: Bound
    mark: int  # bytes in use at which the look is taken
    can_notify: bool
    members: dict[int, Subject] = field(default_factory=dict)
    samples: list[tuple[datetime, int]] = field(default_factory=list)
    last: tuple[float, int] = (0.0, 0)  # when it was measured, monotonic, and bytes in use
    growth: float = 0.0  # bytes a second
    notifies: bool = False  # the kernel counts files, too: once they fill the group it has nothing more to say
    looked: tuple[float, int] | None = None  # when the last look was taken, and bytes in use then
    seen: tuple[int, LastLook] | None = None  # of which process

    def measure(self) -> bool:
        """Take a sample; whether the group is still there."""
        usage, used = self.bound.usage(), self.bound.used()
        if usage is None or used is None:
            return False
        self.notifies = self.can_notify and usage < self.mark * _SHARES[-2]
        moment, (before, less) = time.monotonic(), self.last
        self.growth = (used - less) / (moment - before) if before else 0.0
        self.last = moment, used
        near = self.bound.limit * _STEP
        if len(self.samples) > 1 and all(abs(used - size) < near for _, size in self.samples[-2:]):
            self.samples.pop()
        self.samples.append((now(), used))
        del self.samples[1 : max(1, len(self.samples) - KEPT)]  # the first tells where it began
        return True

    @property
    def due(self) -> bool:
        """Whether it is time for a look."""
        moment, used = self.last
        rises = self.looked is None or (moment - self.looked[0] >= BETWEEN_LOOKS_S and used > self.looked[1])
        return bool(self.members) and used >= self.mark and rises

    @property
    def patience_s(self) -> float | None:
        """How long nothing needs to be measured; None where the kernel will say so."""
        if not self.members or self.notifies:
            return None
        used = self.last[1]
        longest_s = SLOWEST_S * max(0.1, 1 - used / self.mark)
        if self.growth <= 0:
            return longest_s
        target = self.mark if used < self.mark else self.bound.limit
        return min(longest_s, max(FASTEST_S, (target - used) / self.growth / 3))

    def told(self, pid: int) -> LastLook:
        """What is known at the end of this process."""
        # What an ending process gives back is measured, too.
        samples = tuple(self.samples)
        top = max(range(len(samples)), key=lambda index: samples[index][1])
        moment, used = samples[top]
        late = Missing("lastLook", "memory was used up before this process could be looked at")
        look = LastLook(moment, used, self.bound.limit, missing=(late,))
        if self.seen is not None and self.seen[0] == pid:
            look = self.seen[1]
        return replace(look, samples=samples[: top + 1])


class MemoryWatch:
    """Of the processes of all instances. `tools` is held while a tool runs that nobody else may reap."""

    def __init__(self, percent: int) -> None:
        self.tools = threading.Lock()
        self._percent = percent
        self._groups: dict[Path, Group] = {}
        self._events = -1
        self._thread: threading.Thread | None = None
        self._closing = False

    def add(self, process: Watched, target: Target) -> None:
        """Watch the group that this process of an instance is in now, where it has a limit."""
        bound = memory_bound(process.cgroup_text) if self._percent else None
        if bound is None:
            return
        if self._thread is None:
            self._start()
        if bound.folder not in self._groups:
            mark = bound.limit * min(self._percent, 100) // 100
            notifies = bound.notify(self._events, [int(mark * share) for share in _SHARES])
            group = Group(bound, mark, notifies)
            if not group.measure():
                return
            self._groups[bound.folder] = group
        for group in self._groups.values():
            group.members.pop(process.pid, None)
        subject = Subject(instance_of(process, target), process.pid, process.ticks, "", run_dir=target.run_dir)
        self._groups[bound.folder].members[process.pid] = subject
        os.eventfd_write(self._events, 1)

    def take(self, process: Watched) -> LastLook | None:
        """What was seen of a process that has ended, which is watched no longer."""
        for group in list(self._groups.values()):
            if group.members.pop(process.pid, None):
                return group.told(process.pid)
        return None

    def close(self) -> None:
        """Stop watching. A look that is being taken has its own limits."""
        if self._thread is not None:
            self._closing = True
            os.eventfd_write(self._events, 1)
            self._thread.join(CLOSES_S)

    def _start(self) -> None:
        from diag.collectors import last_look  # noqa: F401  now, and not when there is no memory left for it

        _spare_us()
        self._events = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        while True:
            groups = list(self._groups.items())
            patience = [s for _, group in groups if (s := group.patience_s) is not None]
            if poll.poll(min(patience) * 1000 if patience else None):
                os.eventfd_read(self._events)
            if self._closing:
                return
            for folder, group in groups:
                if not group.measure():
                    self._groups.pop(folder, None)
                elif group.due:
                    self._look(group)
            time.sleep(FASTEST_S)  # the kernel may notify without end

    def _look(self, group: Group) -> None:
        from diag.collectors.last_look import look

        group.looked = group.last
        subject = max(list(group.members.values()), key=lambda one: _resident(one.pid), default=None)
        if subject is None:
            return
        with contextlib.suppress(DiagError, OSError), self.keeping_tools():
            for seen in look(subject, group.bound, group.last[1]):
                group.seen = subject.pid, seen

    @contextlib.contextmanager
    def keeping_tools(self) -> Iterator[None]:
        """While a tool of ours runs that nobody else may reap."""
        try:
            with self.tools:
                yield
        finally:
            os.kill(os.getpid(), signal.SIGCHLD)  # who ended meanwhile was not reaped


def _resident(pid: int) -> int:
    """Pages in memory (proc_pid_statm(5)); none where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _spare_us() -> None:
    """Let the OOM killer take others first, where we may: who ends with the instance records nothing."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(path.read_text()) > SPARED:
            path.write_text(str(SPARED))
