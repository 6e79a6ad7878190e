"""`diag run` from start to end: the child first, everything else while it starts."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from diag.agent import signals
from diag.agent.door import Door
from diag.agent.launch import CannotExecute, launch, occupy_standard_descriptors
from diag.config import Settings, parse_labels
from diag.model import new_capture_id, now, stamp

if TYPE_CHECKING:
    from diag.evidence import Ended

STAND_BY_S = 0.2


def run_command(command: list[str], settings: Settings, *, name: str | None = None) -> int:
    """Run the command as our child and watch it; returns its exit status, 128+n for a signal.

    Raises BadSetting before the start; after it nothing of ours changes how the command ends.
    """
    labels = parse_labels(settings.labels)
    name = name or Path(command[0]).name
    instance_id = new_capture_id()
    # Short, because a Unix socket's path ends at 107 bytes.
    folder = settings.run_dir / instance_id[-12:]
    occupy_standard_descriptors()
    door = Door(folder)
    try:
        pid = launch(command, door, folder, with_locals=settings.locals)
    except CannotExecute as error:
        _say(str(error))
        door.close()
        shutil.rmtree(folder, ignore_errors=True)
        return error.status
    try:
        return _watch(pid, door, folder, settings, (name, instance_id, labels))
    finally:
        door.close()
        shutil.rmtree(folder, ignore_errors=True)


def _watch(
    pid: int,
    door: Door,
    folder: Path,
    settings: Settings,
    identity: tuple[str, str, dict[str, str]],
) -> int:
    from diag.agent import registry

    name, instance_id, labels = identity
    target = registry.Target(
        pid=pid,
        start_ticks=registry.start_ticks(pid) or 0,
        name=name,
        service=settings.service or name,
        instance_id=instance_id,
        host=os.uname().nodename,
        start_time=stamp(now()),
        labels=labels,
        agent_pid=os.getpid(),
        agent_start_ticks=registry.start_ticks(os.getpid()),
        run_dir=folder if door.no_probe is None else None,
    )
    # At once: from here on the next diag can finish what we may not.
    if target.run_dir is not None:
        registry.publish(target)

    # Heavy, and none of it is needed before the child runs.
    from diag.agent.attend import Attendant
    from diag.agent.delivery import Delivery
    from diag.agent.recorder import Recorder
    from diag.agent.strangers import adopt_orphans
    from diag.agent.supervise import Supervisor

    adopt_orphans()
    delivery = Delivery(settings)
    recorder = Recorder(settings, delivery)
    supervisor = Supervisor(Attendant(target, settings, recorder, door))
    try:
        recorder.recover()
        supervisor.run()
    except Exception as error:  # noqa: BLE001  a defect of ours costs records; the instance and its status live on
        _say(f"this agent failed and records nothing more: {type(error).__name__}: {error}")
    ended = supervisor.ended or _stand_by(pid)
    recorder.finish()
    delivery.finish()
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
