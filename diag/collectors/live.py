"""One look at a live process: its facts, its stacks, its requests. By default it is not stopped for a moment."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from diag.collectors import pyspy
from diag.collectors.pause import PauseWatch
from diag.collectors.proc import check_attachable, read_process
from diag.collectors.runtime import runtime_of
from diag.errors import DiagError, NoSuchInstance, ToolFailed
from diag.evidence import Evidence, ProcessFacts, Thread, Witness
from diag.model import Cost, Instance, Link, Missing, new_capture_id, now, stamp

_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped", "t": "traced", "Z": "ended"}
_FROZEN_IN = ("__refrigerator", "refrigerator", "do_freezer_trap")
_DEEPER = {
    "node": "JavaScript stacks are in Node's own report, where it was started with --report-on-signal",
    "go": "goroutines are read through net/http/pprof (/debug/pprof/goroutine?debug=2), where the program serves it",
    "native": "`eu-stack -p PID` (elfutils) shows its native stacks",
    "": "what it is made of could not be told",
}


@dataclass(frozen=True, slots=True)
class Depth:
    """What is read beyond the default. Both stop the process while it is read, for the time that `cost` then shows."""

    locals: bool = False
    native: bool = False

    @property
    def stops(self) -> bool:
        """Whether the process is stopped for it."""
        return self.locals or self.native


def look(
    instance: Instance, *, witness: Witness | None = None, depth: Depth = Depth(), timeout_s: float = 10
) -> Evidence:
    """What can be seen of the process `instance.pid` now; its runtime and start time are filled in.

    What could not be had is in `incomplete`. Raises NoSuchInstance, CannotAttach.
    """
    began, cpu = time.monotonic(), _cpu_s()
    pid, moment = instance.pid, now()
    facts, missing = _facts(pid)
    runtime = runtime_of(pid)
    threads, unread, pause_s = _threads(facts, runtime, depth, timeout_s)
    links = [request.link for request in witness.in_flight] if witness else []
    return Evidence(
        capture_id=new_capture_id(moment),
        time=moment,
        instance=replace(instance, runtime=runtime, start_time=stamp(facts.start_time)),
        trigger="api",
        process=facts,
        threads=threads,
        witness=witness,
        links=tuple(dict.fromkeys(link for link in links if link != Link())),
        incomplete=(*missing, *unread),
        cost=Cost(pause_s, _cpu_s() - cpu, time.monotonic() - began),
    )


def _facts(pid: int) -> tuple[ProcessFacts, tuple[Missing, ...]]:
    try:
        facts, missing = read_process(pid)
    except NoSuchInstance:
        check_attachable(pid)  # hidden, rather than gone?
        raise
    if [task.state for task in facts.tasks] == ["Z"]:
        raise NoSuchInstance(f"Process {pid} has ended; its parent {facts.parent_pid} has not asked how yet.")
    check_attachable(pid)
    return facts, missing


def _cpu_s() -> float:
    """CPU time of ours, and of the tools that we ran and waited for."""
    return sum(os.times()[:4])


def _threads(
    facts: ProcessFacts, runtime: str, depth: Depth, timeout_s: float
) -> tuple[tuple[Thread, ...], tuple[Missing, ...], float]:
    """(threads, what is missing, for how long the process stood still)."""
    if not runtime.startswith("python"):
        reason = f"not a Python process, so /proc is all that was read: {_DEEPER.get(runtime, _DEEPER['native'])}"
        return _with_tasks((), facts), (Missing("threads.frames", reason),), 0.0
    missing: list[Missing] = []
    threads: tuple[Thread, ...] = ()
    pause_s = 0.0
    if depth.stops:
        threads, pause_s = _read_standing(facts, depth, timeout_s, missing)
    if not threads:
        threads = _read_moving(facts.pid, timeout_s, missing)
    return _with_tasks(threads, facts), tuple(missing), pause_s


def _read_moving(pid: int, timeout_s: float, missing: list[Missing]) -> tuple[Thread, ...]:
    try:
        threads, moved = pyspy.dump_settled(pid, timeout_s=timeout_s)
    except NoSuchInstance:
        raise
    except DiagError as error:
        missing.append(Missing("threads.frames", f"{error} {error.help_text}".strip()))
        return ()
    missing += moved
    return threads


def _read_standing(
    facts: ProcessFacts, depth: Depth, timeout_s: float, missing: list[Missing]
) -> tuple[tuple[Thread, ...], float]:
    """Locals and native frames. A process that somebody else has stopped is not touched: it stands already."""
    held = standing(facts)
    if held and depth.native:
        missing.append(Missing("nativeStack", f"the process is {held}; native frames would take hold of it"))
    options: dict[str, Any] = {"locals_": depth.locals, "native": depth.native and not held, "nonblocking": bool(held)}
    watch = PauseWatch(facts.pid) if not held else nullcontext()
    try:
        with watch:
            threads = pyspy.dump(facts.pid, timeout_s=timeout_s, **options)
    except ToolFailed as error:
        missing.append(Missing("threads.locals" if depth.locals else "nativeStack", str(error)))
        threads = ()
    return threads, watch.pause_s if isinstance(watch, PauseWatch) else 0.0


def standing(facts: ProcessFacts) -> str | None:
    """Who keeps the process from running, in words; None where nobody does."""
    if facts.tasks and all(task.state in "Tt" for task in facts.tasks):
        return "stopped"
    if facts.tasks and all(task.wait_channel in _FROZEN_IN for task in facts.tasks):
        return "frozen by its cgroup"
    return None


def _with_tasks(threads: tuple[Thread, ...], facts: ProcessFacts) -> tuple[Thread, ...]:
    """With the kernel's threads that no stack was read of, and the state of those that stand."""
    held = standing(facts)
    known = {thread.thread_id for thread in threads}
    others = (
        Thread(task.thread_id, task.name, state=" in ".join(filter(None, (_STATES.get(task.state), task.wait_channel))))
        for task in facts.tasks
        if task.thread_id not in known
    )
    return (*(replace(thread, state=held or thread.state) for thread in threads), *others)
