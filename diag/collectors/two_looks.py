"""One look, and another one, at a process that does not get on: what moved, and what its inside knows.

Nothing is stopped. The probe is asked, which wakes the main thread, only where a lock has no holder that is known from
outside, or where an event loop turns: its tasks alone can tell what a request waits for.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from diag.collectors.collector import Subject
from diag.collectors.inside import PATIENCE_S, ask_inside
from diag.collectors.live import look
from diag.collectors.procfs import ProcFolder
from diag.collectors.vitals import ran
from diag.errors import NoSuchInstance
from diag.evidence import Evidence, Ran, Thread

LOOK_S, SHORTEST_S = 3.0, 0.2
IDLE = "poll"  # collectors/syscalls.py: it waits for descriptors or events


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, and what the scheduler had counted of each thread then."""

    evidence: Evidence
    counted: dict[int, Ran]


def look_once(subject: Subject, until: float) -> Look:
    """One look, which is over at `until`, on the monotonic clock, as far as that lies with us.

    Raises NoSuchInstance, CannotAttach.
    """
    patience_s = max(SHORTEST_S, min(LOOK_S, until - time.monotonic()))
    evidence = look(replace(subject.instance, pid=subject.pid), timeout_s=patience_s)
    try:
        with ProcFolder(subject.pid) as folder:
            return Look(evidence, ran(folder))
    except (OSError, NoSuchInstance):
        return Look(evidence, {})


def ask(subject: Subject, seen: Evidence, telling: Collection[int], until: float) -> Evidence:
    """The same with what the probe says of tasks and locks, where there is time, and it can say more.

    `telling` are the threads that should get on. Raises NoSuchInstance.
    """
    threads = [thread for thread in seen.threads if thread.thread_id in telling]
    if until - time.monotonic() < PATIENCE_S or not any(map(_inside_knows, threads)):
        return seen
    return ask_inside(seen, subject.run_dir, None)


def _inside_knows(thread: Thread) -> bool:
    wait = thread.waiting
    if wait is None:
        return False
    return wait.kind == IDLE or (wait.kind == "lock" and wait.holder is None and not wait.timed)
