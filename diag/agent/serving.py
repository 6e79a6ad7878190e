"""`diag agent` from start to end: one process for all instances of a host, a pod or a function instance."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext

from diag.agent import core_pattern, hooks, meeting, registry, signals
from diag.agent.door import Door
from diag.agent.meeting import Meeting
from diag.agent.recorder import say
from diag.config import Settings
from diag.errors import CannotAttach
from diag.probe.diag_probe import layout

NO_TAIL = "diag agent is not the instance's parent, so its stderr goes elsewhere"
STOP_S = 3.0  # how long a stop may take for what the store has not got yet


def serve(
    settings: Settings,
    *,
    socket: str | None,
    watch: Sequence[str],
    http: str | None,
    once: bool,
    cores: core_pattern.Options | None,
) -> int:
    """Watch until a signal or a hook ends us; returns the exit status. With `cores` also what nobody has prepared.

    Raises AlreadyServed, CannotAttach, NoCorePattern, NoSuchInstance, UsageError before anybody is watched.
    """
    os.environ.pop(layout.ENV_SOCKET, None)  # what we start ourselves is no instance
    named = [registry.find(settings, text) for text in watch]
    place = Meeting(meeting.socket_of(settings, socket), settings.run_dir)
    signals.block()
    door = Door(place.folder, place.listener, NO_TAIL)
    try:
        if not door.connected:
            raise CannotAttach("The guard of the agent could not be started.")
        core_pattern.restore(settings)  # what a killed agent may have left
        with core_pattern.installed(settings, cores) if cores else nullcontext():
            return _serve(settings, place, door, named, http, once=once)
    finally:
        door.close()
        place.close()


def _serve(
    settings: Settings, place: Meeting, door: Door, named: Sequence[registry.Target], http: str | None, *, once: bool
) -> int:
    from diag.agent.delivery import Delivery
    from diag.agent.flushing import Flusher
    from diag.agent.host import Host, raise_limit, resume_all
    from diag.agent.recorder import Recorder
    from diag.upload.background import waits

    raise_limit()
    delivery = Delivery(settings)
    recorder = Recorder(settings, delivery)
    host = Host(settings, recorder, door, once=once)
    offered = hooks.Hooks(Flusher(settings, recorder, delivery, host.hear), host.stop)
    offered.listen_at(place.folder / hooks.NAME, meeting.modes().sockets)
    where = offered.listen_on(http) if http else None
    try:
        resume_all(host, settings)
        for target in named:
            host.name(target)
        place.sweep(settings)
        recorder.recover()
        if waits(settings):
            delivery.wake()
        host.offer(offered)
        say(f"diag: this agent serves at {place.path}" + (f" and http://{where[0]}:{where[1]}" if where else ""))
        host.run()
    finally:
        offered.close()
        recorder.finish()
        delivery.settle(time.monotonic() + STOP_S)
        delivery.finish()
    return 0
