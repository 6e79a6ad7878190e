"""The loop of `diag agent`: instances that join through a socket, that are named, or that an earlier agent has left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from diag.agent import exits, identity, registry
from diag.agent.allowance import Allowance
from diag.agent.attend import CREDENTIALS, Attendant
from diag.agent.classify import ASKING
from diag.agent.door import Door
from diag.agent.recorder import Recorder, say
from diag.agent.recover import abandoned, alone, boxes_in, recover_box, whose
from diag.agent.registry import Target
from diag.agent.supervise import Rounds, Supervisor
from diag.agent.watched import Watched
from diag.config import Settings
from diag.errors import DiagError, UsageError
from diag.evidence import Ended
from diag.probe.diag_probe import layout

NOBODY = 0  # no pid: we are nobody's parent
LAST_TURNS_S = 2.0
OTHERS_S = 10.0  # how long another diag may finish what was left, before we watch the rest


@dataclass(slots=True)
class Joined:
    """An instance and those of its processes that are watched. `first` is kept when it has ended."""

    attendant: Attendant
    rounds: Rounds
    first: Watched | None = None
    members: set[int] = field(default_factory=set)


class Host(Supervisor):
    """Watches any number of instances. None of their processes is our child."""

    def __init__(self, settings: Settings, recorder: Recorder, door: Door, *, once: bool) -> None:
        nobody = Target(NOBODY, 0, "", "", "")
        super().__init__(Attendant(nobody, settings, recorder, door, ()))
        self._settings, self._recorder = settings, recorder
        self._once = once
        self._joined: dict[int, Joined] = {}  # by the pid of each member
        self._told: set[str] = set()

    def run(self) -> Ended:
        """Serve until somebody stops us; or, with `once`, until the last of the instances that came has ended."""
        self._wait_for(self._arrivals.fileno(), self._signals_arrived)
        self._wait_for(self._errands.fileno(), self._errands.heard)
        if self._door.connected:
            self._wait_for(self._door.fileno(), self._probe_arrived)
        while self.ended is None:
            self._turn(self._patience())
        self._hear_all()
        until = time.monotonic() + LAST_TURNS_S
        while self._turn(0) and time.monotonic() < until:
            pass  # who has ended by now is still ours to record
        self._memory.close()
        return self.ended

    def stop(self) -> None:
        """From any thread: end."""
        self._errands.tell(lambda: self._end("a hook"))

    def name(self, target: Target) -> None:
        """Watch this process from outside. Raises UsageError where an agent watches it already."""
        if target.pid in self._joined:
            return  # an agent before us was told the same
        if registry.alive(target.agent_pid, target.agent_start_ticks):
            raise UsageError(f"{target.name} has an agent: pid {target.agent_pid}.", "One is enough.")
        self._begin(identity.owned(self._settings, target))

    def take_over(self, target: Target) -> bool:
        """Go on with an instance whose agent has gone: watch who lives, record who has died. Raises DiagError.

        Returns whether that is done; it is not while another `diag` looks for leftovers there.
        """
        assert target.run_dir is not None
        with alone(target.run_dir) as granted:
            if not granted:
                return False
            ours = identity.by_us(target)
            living = [found for path in boxes_in(target.run_dir) if (found := self._open(path, target))]
            if not living and registry.alive(target.pid, target.start_ticks):
                living = [(target.pid, None)]
            if not living:
                shutil.rmtree(target.run_dir, ignore_errors=True)
                return True
            registry.publish(ours)
            instance = self._instance(ours)
            for pid, box in sorted(living, key=lambda one: one[0] != target.pid):
                self._resume(instance, pid, box)
        return True

    def _open(self, box: Path, target: Target) -> tuple[int, Path | None] | None:
        pid, ticks = whose(box)
        if ticks is not None and registry.alive(pid, ticks):
            return pid, box
        recover_box(box, target, self._settings)
        return None

    def _resume(self, instance: Joined, pid: int, box: Path | None) -> None:
        process = self._watch_for(instance, pid, None)
        if process is None:  # it has ended since
            if box is not None:
                recover_box(box, instance.attendant.target, self._settings)
        elif box is not None and whose(box) == (pid, process.ticks):
            process.box_path = box
            process.events_read = registry.noted_read(box)
            instance.attendant.record_events(process)

    def _signals_arrived(self) -> None:
        for number, _, _ in self._arrivals.take():
            if number == signal.SIGCHLD:
                self._reap_orphans()
            elif number in ASKING:
                self._end(exits.signal_name(number))

    def _end(self, by: str) -> None:
        self.ended = self.ended or Ended(status=0, evidence=(f"stopped by {by}",))

    def _greet(self, link: socket.socket) -> None:
        pid, uid, _ = CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if pid == 0:
            self._tell_once(
                "a process that this pid namespace does not see wanted to join. "
                "Start the agent with --pid=host, or the pod with shareProcessNamespace: true."
            )
            link.close()
        elif os.geteuid() not in (0, uid):
            self._tell_once(f"a process of user {uid} wanted to join, and only root may watch other users' processes.")
            link.close()
        else:
            with self._harmless(pid):
                super()._greet(link)

    def _probe_spoke(self, process: Watched) -> None:
        with self._harmless(process.pid):
            super()._probe_spoke(process)
            attendant = self._of(process)
            if not attendant.target.name and (box := process.box()):
                attendant.target = identity.named_by(attendant.target, box.header())

    @contextlib.contextmanager
    def _harmless(self, pid: int) -> Iterator[None]:
        """What one instance makes us stumble over must not cost the others their agent."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  a defect of ours, met with one process: the others are watched on
            say(f"diag: pid {pid} is watched no longer, by a defect of diag: {type(error).__name__}: {error}")
            if process := self._processes.get(pid):
                self._unlink(process)

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 100:
            self._told.add(sentence)
            say(f"diag: {sentence}")

    def _watch(self, pid: int, pidfd: int | None = None) -> Watched | None:
        """The process begins an instance of its own, unless one of its ancestors is watched."""
        instance = next((self._joined[one] for one in registry.ancestors(pid) if one in self._joined), None)
        if instance is not None:
            return self._watch_for(instance, pid, pidfd)
        return self._begin(identity.joined(self._settings, pid), pidfd)

    def _begin(self, target: Target, pidfd: int | None = None) -> Watched | None:
        assert target.run_dir is not None
        try:
            (target.run_dir / layout.BOX_FOLDER).mkdir(mode=0o700, parents=True)
            target.run_dir.chmod(0o700)
            registry.publish(target)
        except OSError as error:
            self._tell_once(f"{error.filename or target.run_dir}: {error.strerror}; instances cannot join.")
            if pidfd is not None:
                os.close(pidfd)
            return None
        instance = self._instance(target)
        process = self._watch_for(instance, target.pid, pidfd)
        if process is None:
            shutil.rmtree(target.run_dir, ignore_errors=True)
        return process

    def _instance(self, target: Target) -> Joined:
        attendant = Attendant(target, self._settings, self._recorder, self._door, (), allowance=Allowance())
        return Joined(attendant, self._rounds_for(attendant))

    def _watch_for(self, instance: Joined, pid: int, pidfd: int | None) -> Watched | None:
        self._joined[pid] = instance
        process = super()._watch(pid, pidfd)
        if process is None:
            del self._joined[pid]
            return None
        instance.members.add(pid)
        return process

    def _of(self, process: Watched) -> Attendant:
        return self._joined[process.pid].attendant

    def _rounds_of(self, process: Watched) -> Rounds:
        return self._joined[process.pid].rounds

    def _all_rounds(self) -> Iterable[tuple[Rounds, Collection[Watched]]]:
        instances = {id(instance): instance for instance in self._joined.values()}.values()
        return [(one.rounds, [self._processes[pid] for pid in one.members]) for one in instances]

    def _first_of(self, process: Watched) -> Watched:
        instance = self._joined[process.pid]
        instance.first = instance.first or process
        return instance.first

    def _known(self, speaker: Watched, pid: int) -> Watched | None:
        """One instance has nothing to say about another's processes, and must not have anybody else watched."""
        found = super()._known(speaker, pid)
        return found if found and self._joined[pid] is self._joined[speaker.pid] else None

    def _related(self, speaker: Watched, pid: int) -> Watched | None:
        instance = self._joined[speaker.pid]
        ours = any(self._joined.get(one) is instance for one in registry.ancestors(pid))
        return self._watch_for(instance, pid, None) if ours and not self._has_ended(pid) else None

    def _process_ended(self, process: Watched) -> None:
        instance = self._joined[process.pid]
        with self._harmless(process.pid):
            super()._process_ended(process)
        if self._processes.pop(process.pid, None):  # we stumbled
            self._overdue.pop(process.pid, None)
            self._forget(process.pidfd)
            process.close()
        del self._joined[process.pid]
        instance.members.discard(process.pid)
        self._recorder.afterwards(partial(_clear, instance), process.recorded_as)
        if not instance.members:
            self._recorder.afterwards(instance.rounds.hangs.close)  # not here: it waits for looks
            if self._once and not self._joined:
                self._end("the last instance")

    def _instances(self) -> int:
        return len({id(instance) for instance in self._joined.values()})


def _clear(instance: Joined) -> None:
    """Remove its folder, unless somebody lives, or it is not settled yet what becomes of a record."""
    folder = instance.attendant.target.run_dir
    if folder is not None and not instance.members and not boxes_in(folder):
        shutil.rmtree(folder, ignore_errors=True)


def resume_all(host: Host, settings: Settings) -> None:
    """Go on with whatever earlier agents have left."""
    until = time.monotonic() + OTHERS_S
    for target in filter(abandoned, registry.published(settings)):
        try:
            while not host.take_over(target) and time.monotonic() < until:
                time.sleep(0.02)
        except (DiagError, OSError) as error:
            say(f"diag: {target.name} was left by an earlier agent, and cannot be watched: {error}")


def raise_limit() -> None:
    """Two descriptors a process: allow ourselves as many as we may have."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
