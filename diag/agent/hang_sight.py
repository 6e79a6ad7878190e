"""What one turn of the hang watch sees of a process: who keeps it from running, and what is under way in it.

Black box and /proc alone: nothing is woken, and a process in which nothing is under way costs two small reads.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diag.agent.blackbox import Box
from diag.collectors.procfs import ProcFolder
from diag.collectors.vitals import THREADS, Vitals, ran, rests, vitals
from diag.errors import NoSuchInstance
from diag.evidence import Request

_WEB_SOCKET = "WEBSOCKET"  # asgi.py's word in the place of a method: it is under way as long as its client likes


@dataclass(frozen=True, slots=True)
class Sight:
    """`requests`, `loop` and `locks` are keys for the stopwatch: each stays the same while nothing gets on."""

    vitals: Vitals = field(default_factory=Vitals)
    requests: Mapping[Hashable, Request] = field(default_factory=dict)
    loop: Hashable = None
    locks: tuple[Hashable, ...] = ()
    starved: Mapping[Hashable, float] = field(default_factory=dict)  # seconds that the thread waited for a processor
    timeout_s: float | None = None

    def under_way(self) -> dict[Hashable, float]:
        """Every key, with for how long it says that it has been under way."""
        moment = time.time()
        found: dict[Hashable, float] = {
            key: moment - request.started.timestamp() for key, request in self.requests.items()
        }
        found.update(dict.fromkeys(filter(None, (self.loop, *self.locks)), 0.0))
        return found


def see(pid: int, box_path: Path | None) -> Sight | None:
    """One sight of the process; None where it is gone."""
    box = Box.glance(box_path) if box_path is not None else None
    flying = box.in_flight() if box is not None else {}
    requests: dict[Hashable, Request] = {
        ("request", slot, one.started, one.thread_id, one.path): one
        for slot, one in flying.items()
        if one.method != _WEB_SOCKET
    }
    header = box.header() if box is not None else {}
    try:
        with ProcFolder(pid) as folder:
            state = vitals(folder, closely=box is not None)
            if box is None or state.standing:
                return Sight(state, requests, timeout_s=_timeout(header))
            loop = _loop(folder) if header.get("asyncio") is True else None
            locks = tuple(_locks(folder))
            counted = ran(folder) if requests or loop else {}
    except (OSError, NoSuchInstance, ValueError, IndexError):
        return None
    # In a pid namespace of its own a request's thread has another number there: the most starved stands for it.
    most = max((one.starved_s for one in counted.values()), default=0.0)
    threads = {key: one.thread_id for key, one in requests.items()} | ({loop: pid} if loop else {})
    starved = {key: counted[id_].starved_s if id_ in counted else most for key, id_ in threads.items()}
    return Sight(state, requests, loop, locks, starved, _timeout(header))


def _loop(folder: ProcFolder) -> Hashable:
    """The main thread, where it does not wait for events, by how often it has gone to sleep."""
    found = rests(folder, folder.pid)
    if found is None or (found[0] is not None and found[0].for_events):
        return None
    return ("loop", found[1])


def _locks(folder: ProcFolder) -> Iterator[Hashable]:
    """The threads that wait for a lock without a limit, each by how often it has gone to sleep."""
    for name in folder.names("task")[:THREADS]:
        found = rests(folder, int(name))
        if found is not None and found[0] is not None and found[0].futex and not found[0].arguments[3]:
            yield ("lock", int(name), found[1])


def _timeout(header: Mapping[str, Any]) -> float | None:
    told = header.get("timeout_s")
    return told if isinstance(told, float) and 0 < told < 1e6 else None
