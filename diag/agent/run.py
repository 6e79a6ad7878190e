"""`diag run` from start to end: the child first, everything else while it starts."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diag.agent import registry, signals
from diag.agent.door import Door
from diag.agent.go_trace import is_go
from diag.agent.launch import CannotExecute, launch, occupy_standard_descriptors
from diag.agent.registry import Target
from diag.config import Settings, parse_labels
from diag.model import new_capture_id, now, stamp

if TYPE_CHECKING:
    from diag.evidence import Ended

STAND_BY_S = 0.2


def run_command(command: list[str], settings: Settings, *, name: str | None = None) -> int:
    """Run the command as our child and watch it; returns its exit status, 128+n for a signal.

    Raises BadSetting before the start; after it nothing of ours changes how the command ends.
    """
    target = _target(command, settings, name)
    _ = settings.hang_after_s  # a wrong one is refused before the start
    occupy_standard_descriptors()
    # Its name is short: a Unix socket's path ends at 107 bytes.
    door = Door(settings.run_dir / target.instance_id[-12:], go=is_go(command))
    if door.no_probe is None:
        target = replace(target, run_dir=door.folder)
    _publish(target)  # so that the folder has an owner whenever we are killed
    try:
        target = _start(command, target, door, settings)
        return _watch(command, target, door, settings)
    except CannotExecute as error:
        _say(str(error))
        return error.status
    finally:
        door.close()
        if not door.folder_is_needed:
            shutil.rmtree(door.folder, ignore_errors=True)


def _target(command: list[str], settings: Settings, name: str | None) -> Target:
    name = name or Path(command[0]).name
    return Target(
        pid=0,  # not started yet
        start_ticks=0,
        name=name,
        service=settings.service or name,
        instance_id=new_capture_id(),
        host=os.uname().nodename,
        labels=parse_labels(settings.labels),
        agent_pid=os.getpid(),
        agent_start_ticks=registry.start_ticks(os.getpid()),
    )


def _start(command: list[str], target: Target, door: Door, settings: Settings) -> Target:
    """Start the command; returns the instance with its process. Raises CannotExecute."""
    started = target

    def announce(pid: int) -> None:
        nonlocal started
        started = replace(target, pid=pid, start_ticks=registry.start_ticks(pid) or 0, start_time=stamp(now()))
        _publish(started)

    launch(command, door, announce, with_locals=settings.locals)
    return started


def _publish(target: Target) -> None:
    if target.run_dir is None:
        return
    try:
        registry.publish(target)
    except OSError as error:
        _say(f"{error.filename or target.run_dir}: {error.strerror}; no other diag will know of this instance.")


def _watch(command: list[str], target: Target, door: Door, settings: Settings) -> int:
    # Heavy, and none of it is needed before the child runs.
    from diag.agent.attend import Attendant
    from diag.agent.delivery import Delivery
    from diag.agent.flushing import Flusher
    from diag.agent.hooks import NAME, Hooks
    from diag.agent.recorder import Recorder
    from diag.agent.strangers import adopt_orphans
    from diag.agent.supervise import Supervisor

    adopt_orphans()
    delivery = Delivery(settings)
    recorder = Recorder(settings, delivery)
    supervisor = Supervisor(Attendant(target, settings, recorder, door, tuple(command)))
    hooks = Hooks(Flusher(settings, recorder, delivery, supervisor.hear))
    try:
        if door.no_probe is None:
            hooks.listen_at(door.folder / NAME)
            supervisor.offer(hooks)
        recorder.recover()
        supervisor.run()
    except Exception as error:  # noqa: BLE001  a defect of ours costs records; the instance and its status live on
        _say(f"this agent failed and records nothing more: {type(error).__name__}: {error}")
    ended = supervisor.ended or _stand_by(target.pid)
    hooks.close()
    recorder.finish()
    delivery.finish()
    door.folder_is_needed = supervisor.has_survivors
    return ended.status if ended.status is not None else 128 + (ended.signal or 0)


def _stand_by(pid: int) -> Ended:
    """Nothing but the parent of the child: pass on what signals reach us, wait, tell how it ended."""
    from diag.agent import exits

    while True:
        # In turns, because the thread that waits for signals may take one of ours, SIGCHLD too.
        came = signal.sigtimedwait(signals.CAUGHT, STAND_BY_S)
        if came is not None and came.si_signo != signal.SIGCHLD and came.si_code <= 0:
            os.kill(pid, came.si_signo)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == pid:
            return exits.from_wait_status(status, "wait status of our child")


def _say(sentence: str) -> None:
    os.write(2, f"diag: {sentence}\n".encode(errors="replace"))
