"""The agent's loop: one thread that waits for signals, probes and ends, and sleeps while nothing happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diag.agent import exits, registry
from diag.agent.attend import CREDENTIALS, LINGER_S, Attendant
from diag.agent.classify import ASKING
from diag.agent.errands import Errands
from diag.agent.hang_watch import HangWatch
from diag.agent.history import History
from diag.agent.memory_watch import MemoryWatch
from diag.agent.signals import Arrivals
from diag.agent.watched import Watched
from diag.evidence import Ended
from diag.probe.diag_probe import layout

if TYPE_CHECKING:
    from diag.agent.hooks import Hooks

LAST_WORDS_S = 0.2
REMEMBERED = 4096  # ended processes, by which a link that comes late is known
_HANDED = "wait status of an orphan handed to us"
_SO_PEERPIDFD = 77  # include/uapi/asm-generic/socket.h, since Linux 6.5; since 6.16 also where the peer was reaped


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is looked at again and again, of one instance."""

    hangs: HangWatch
    history: History


class Supervisor:
    """Watches one instance: its first process, which is our child, and every process that a probe links."""

    def __init__(self, attendant: Attendant) -> None:
        self._attendant = attendant
        self._door = attendant.door
        self._child = attendant.target.pid
        self._processes: dict[int, Watched] = {}
        self._first: Watched | None = None
        self._ended: dict[int, int] = {}  # pid -> start of a process whose end is recorded
        self._orphans: dict[int, int] = {}  # pid -> wait status of a process that was handed to us
        self._overdue: dict[int, float] = {}  # pid -> when its exception is recorded without its end, monotonic
        self.ended: Ended | None = None  # how the first process ended, as soon as its status was taken
        self._memory = MemoryWatch(attendant.settings.oom_watch_percent)
        self._rounds = self._rounds_for(attendant)
        self._errands = Errands()
        self._hooks: Hooks | None = None
        self._arrivals = Arrivals()
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}

    def run(self) -> Ended:
        """Watch until the first process has ended; returns how."""
        self._watch(self._child)
        self._wait_for(self._arrivals.fileno(), self._signals_arrived)
        if self._door.connected:
            self._wait_for(self._door.fileno(), self._probe_arrived)
        self._wait_for(self._errands.fileno(), self._errands.heard)
        while self.ended is None:
            self._turn(self._patience())
        self._hear_last_words()
        self._memory.close()
        self._rounds.hangs.close()
        return self.ended

    def offer(self, hooks: Hooks) -> None:
        """Answer at these hooks from now on."""
        self._hooks = hooks
        for descriptor, arrived in hooks.doors():
            self._wait_for(descriptor, arrived)

    def hear(self, timeout_s: float) -> int | None:
        """From another thread: take in all that probes have said; how many instances, None where not in time."""
        return self._errands.ask(self._hear_all, timeout_s)

    def _hear_all(self) -> int | None:
        arrived = self._door.settle()
        settled = self._door.settled
        self._let_in(arrived)
        if arrived:
            self._turn(0)  # they may have ended
        self._hear_everybody()
        for process in self._processes.values():
            self._of(process).record_events(process)
        return self._instances() if settled else None

    def _instances(self) -> int:
        return 1

    def _of(self, process: Watched) -> Attendant:
        """Who attends this process."""
        return self._attendant

    def _rounds_for(self, attendant: Attendant) -> Rounds:
        settings = attendant.settings
        hangs = HangWatch(attendant.target, settings.hang_after_s, attendant.record_hang, self._memory.keeping_tools)
        return Rounds(hangs, History(attendant.target.run_dir))

    def _rounds_of(self, process: Watched) -> Rounds:
        return self._rounds

    def _all_rounds(self) -> Iterable[tuple[Rounds, Collection[Watched]]]:
        """Each instance's, with its processes."""
        return [(self._rounds, self._processes.values())]

    def _first_of(self, process: Watched) -> Watched:
        """The first process of its instance."""
        self._first = self._first or process
        return self._first

    def _known(self, speaker: Watched, pid: int) -> Watched | None:
        """The process of the same instance that another one speaks of; not one whose end is recorded."""
        if pid not in self._processes and not self._has_ended(pid):
            self._let_in(self._door.settle())  # it may be young, with its probe still at the door
        return self._processes.get(pid) or self._related(speaker, pid)

    def _related(self, _speaker: Watched, pid: int) -> Watched | None:
        """Begin to watch this process, without a probe, where it is of the instance; it may wait to be reaped."""
        ours = any(one in self._processes or one == os.getpid() for one in registry.ancestors(pid))
        return self._watch(pid) if ours and not self._has_ended(pid) else None

    @property
    def has_survivors(self) -> bool:
        """Whether daemons of the instance live on; not where it was asked to stop, and they with it."""
        living = (registry.alive(p.pid, p.ticks) for p in self._processes.values() if p.box_path)
        return self._attendant.asked is None and any(living)

    def _turn(self, patience_s: float) -> bool:
        """Serve who is ready; whether there was anybody."""
        ready_now = self._poll.poll(patience_s)
        for descriptor, _ in ready_now:
            # An earlier one of this round may have ended it.
            if ready := self._ready.get(descriptor):
                ready()
        for rounds, processes in self._all_rounds():
            rounds.history.take(processes)
        current = time.monotonic()
        for pid in [pid for pid, due in self._overdue.items() if due <= current]:
            del self._overdue[pid]
            self._of(self._processes[pid]).record_without_end(self._processes[pid])
        for rounds, processes in self._all_rounds():
            rounds.hangs.tick(processes)
        self._errands.run()  # last: who asks is told of all that happened before
        return bool(ready_now)

    def _wait_for(self, descriptor: int, ready: Callable[[], None]) -> None:
        self._ready[descriptor] = ready
        self._poll.register(descriptor, select.EPOLLIN)

    def _forget(self, descriptor: int) -> None:
        if self._ready.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):  # closing it has unregistered it
                self._poll.unregister(descriptor)

    def _patience(self) -> float:
        current = time.monotonic()
        waits = [max(0.0, due - current) for due in self._overdue.values()]
        for rounds, _ in self._all_rounds():
            asked = (rounds.hangs.patience_s(current), rounds.history.patience_s)
            waits += [wait_s for wait_s in asked if wait_s is not None]
        return min(waits, default=-1)

    def _signals_arrived(self) -> None:
        for number, from_terminal, sender in self._arrivals.take():
            if number == signal.SIGCHLD:
                self._reap_orphans()
                continue
            if number in ASKING:
                self._attendant.asked = number
                self._attendant.asker = "the terminal" if from_terminal else _describe(sender)
            if not from_terminal:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, number)
            if number == signal.SIGTSTP:
                os.kill(os.getpid(), signal.SIGSTOP)

    def _reap_orphans(self) -> None:
        """As PID 1, and as the nearest ancestor that asked for orphans, we are handed processes of the instance.

        Tools that we run have ended by now: they run inside one turn of the loop, and those of the last look at its
        memory keep us from here until then.
        """
        if not self._memory.tools.acquire(blocking=False):
            return  # it sends SIGCHLD when they have ended
        try:
            self._reap()
        finally:
            self._memory.tools.release()

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid == self._child:
                return
            pid, status = os.waitpid(ended.si_pid, 0)
            if self._door.is_guard(pid):
                self._reopen_door()
            elif pid in self._processes:
                self._orphans[pid] = status

    def _reopen_door(self) -> None:
        self._forget(self._door.fileno())
        self._door.reopen()
        self._wait_for(self._door.fileno(), self._probe_arrived)

    def _probe_arrived(self) -> None:
        self._let_in(self._door.admit())
        if not self._door.alive:
            self._forget(self._door.fileno())

    def _let_in(self, links: list[socket.socket]) -> None:
        for link in links:
            self._greet(link)
        for inode, payload in self._door.hellos():
            for process in self._processes.values():
                if process.link and os.fstat(process.link.fileno()).st_ino == inode:
                    self._of(process).greet(process, payload)

    def _greet(self, link: socket.socket) -> None:
        pid, uid, _ = CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        process = self._processes.get(pid)
        if process is None and not self._has_ended(pid):
            process = self._watch(pid, _peer_pidfd(link))
        if process is None or os.geteuid() not in (0, uid):
            link.close()
            return
        self._unlink(process)  # exec: a new interpreter in the same process
        link.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        process.link, process.uid = link, uid
        self._look_at(process)
        self._rounds_of(process).hangs.welcome()
        self._wait_for(link.fileno(), lambda: self._probe_spoke(process))

    def _watch(self, pid: int, pidfd: int | None = None) -> Watched | None:
        ticks = registry.start_ticks(pid)
        try:
            pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        except OSError:
            return None
        process = self._processes[pid] = Watched(pid, ticks or 0, pidfd)
        self._look_at(process)
        first = self._first_of(process)
        if process is not first:
            # The first one may have ended, with others of the instance still at the door.
            parent = self._processes.get(process.facts.parent_pid) if process.facts else None
            process.parent = parent or first
        self._wait_for(pidfd, lambda: self._process_ended(process))
        return process

    def _look_at(self, process: Watched) -> None:
        self._of(process).look_at(process)
        self._memory.add(process, self._of(process).target)

    def _unlink(self, process: Watched) -> None:
        if process.link is not None:
            self._forget(process.link.fileno())
            process.unlink()

    def _probe_spoke(self, process: Watched) -> None:
        descriptor = process.link.fileno() if process.link else -1
        self._of(process).listen(process, lambda pid: self._known(process, pid))
        if process.link is None:
            self._forget(descriptor)
        if process.fatal is not None and not process.recorded:
            self._overdue.setdefault(process.pid, time.monotonic() + LINGER_S)

    def _has_ended(self, pid: int) -> bool:
        """Whether its end is recorded: its link was still at the door then."""
        return pid in self._ended and registry.start_ticks(pid) in (None, self._ended[pid])

    def _process_ended(self, process: Watched) -> None:
        self._forget(process.pidfd)
        # It may have lived for a moment only, with its probe still at the door.
        self._let_in(self._door.settle() if process.pid == self._child else self._door.admit())
        self._probe_spoke(process)
        attendant = self._of(process)
        attendant.look_at_remains(process)
        process.last_look = self._memory.take(process)
        process.hang = self._rounds_of(process).hangs.take(process)
        ended = self._how_it_ended(process)
        if ended.signal is not None and process.frozen is None:
            self._hear_everybody()  # who sent the signal has said so before
        if process.pid == self._child:
            self.ended = ended
        attendant.record_events(process)
        attendant.record_end(process, ended)
        self._unlink(process)
        attendant.let_go(process)
        del self._processes[process.pid]
        self._remember(process)
        self._overdue.pop(process.pid, None)

    def _remember(self, process: Watched) -> None:
        self._ended[process.pid] = process.ticks
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _hear_everybody(self) -> None:
        for process in list(self._processes.values()):
            self._probe_spoke(process)

    def _how_it_ended(self, process: Watched) -> Ended:
        if process.pid == self._child:
            _, status = os.waitpid(process.pid, 0)
            return exits.from_wait_status(status, "wait status of our child")
        if process.pid in self._orphans:
            return exits.from_wait_status(self._orphans.pop(process.pid), _HANDED)
        with contextlib.suppress(ChildProcessError):  # while a tool runs nobody is reaped until here
            reaped, status = os.waitpid(process.pid, os.WNOHANG)
            if reaped:
                return exits.from_wait_status(status, _HANDED)
        return exits.of_stranger(process.pid, process.pidfd)

    def _hear_last_words(self) -> None:
        """What other processes of the instance were saying when the first one ended."""
        began = time.monotonic()
        until = began + LAST_WORDS_S
        while (current := time.monotonic()) < until:
            heard = self._turn(until - current if self._anybody_dies else 0)
            if self._anybody_dies and heard:
                until = min(time.monotonic(), began + layout.FREEZE_LIMIT_S) + LAST_WORDS_S
            elif not heard:
                break
        self._door.settle()

    @property
    def _anybody_dies(self) -> bool:
        return any(process.frozen or process.fatal for process in self._processes.values())


def _describe(sender: int) -> str:
    """`pid 812 (systemd)`; the kernel says 0 for a process that this pid namespace does not see."""
    if sender == 0:
        return "a process outside of this pid namespace"
    try:
        return f"pid {sender} ({Path(f'/proc/{sender}/comm').read_text(errors='replace').strip()})"
    except OSError:
        return f"pid {sender}, which has ended since"


def _peer_pidfd(link: socket.socket) -> int | None:
    """A pidfd of the very process that connected, even if it has ended since; None where the kernel has none."""
    try:
        return link.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None
