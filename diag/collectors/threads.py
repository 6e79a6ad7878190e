"""The threads of a live process: their stacks by what reads its runtime best, and what each of them waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from diag.collectors import pyspy
from diag.collectors.pause import TICK_S, PauseWatch
from diag.collectors.waits import look_at_waits, settled, with_waits
from diag.errors import DiagError, NoSuchInstance, ToolFailed
from diag.evidence import FROZEN, STOPPED, ProcessFacts, Thread
from diag.model import Missing

REST_LOOKS, REST_S = 10, 0.01  # until all threads rest again after a stop
_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped", "t": "traced", "Z": "ended"}
_FROZEN_IN = ("__refrigerator", "refrigerator", "do_freezer_trap")
_DEEPER = {
    "node": "`diag stacks` asks Node's inspector",
    "go": "`diag stacks` asks net/http/pprof, where the program serves it",
    "native": "--native shows its native stacks, by eu-stack",
    "": "what it is made of could not be told",
}


@dataclass(frozen=True, slots=True)
class Depth:
    """What is read beyond the default. Locals and native frames stop the process, for the time that `cost` then shows.

    With `asking` Node and Go may be asked for their stacks, which is not without a trace: a line in its log, a request.
    """

    locals: bool = False
    native: bool = False
    asking: bool = False

    @property
    def stops(self) -> bool:
        """Whether the process is stopped for it."""
        return self.locals or self.native


PLAIN = Depth()


@dataclass(frozen=True, slots=True)
class Stacks:
    """Threads as one tool read them, what is missing of them, and for how long the process stood still for it.

    `whole` says that they are all there is: goroutines are not the kernel's threads.
    """

    threads: tuple[Thread, ...] = ()
    engine: str = "kernel"
    missing: tuple[Missing, ...] = ()
    pause_s: float = 0.0
    whole: bool = False


def read_threads(facts: ProcessFacts, runtime: str, depth: Depth, timeout_s: float) -> Stacks:
    """All threads of the process, with what they wait for.

    Raises NoSuchInstance, and where locals or native frames of a Python are asked for also what keeps them from it.
    """
    language = runtime.partition(" ")[0]
    # What stops the process wakes its threads, so both looks at what they wait for come after it.
    before = None if depth.stops else look_at_waits(facts.pid, python=language == "python")
    stacks = _read(facts, language, depth, timeout_s)
    if stacks.whole:
        return stacks
    if before is None:
        before = look_at_waits(facts.pid, python=language == "python")
    after = look_at_waits(facts.pid, python=language == "python")
    for _ in range(REST_LOOKS if depth.stops else 0):
        if before.runs == after.runs:
            break
        time.sleep(REST_S)  # whom it woke has not gone back to rest yet
        before, after = after, look_at_waits(facts.pid, python=language == "python")
    waits = settled(before, after)
    return replace(stacks, threads=with_waits(_with_tasks(stacks.threads, facts), waits, between=not depth.stops))


def _read(facts: ProcessFacts, language: str, depth: Depth, timeout_s: float) -> Stacks:
    reader = _READERS.get(language)
    if reader is None or (language != "python" and not (depth.native if language == "native" else depth.asking)):
        reason = f"not a Python process, so /proc is all that was read: {_DEEPER.get(language, _DEEPER['native'])}"
        return Stacks(missing=(Missing("threads.frames", reason),))
    try:
        stacks = reader(facts, depth, timeout_s)
        return replace(stacks, missing=(*stacks.missing, *_beyond(language, depth)))
    except NoSuchInstance:
        raise
    except DiagError as error:
        if depth.stops and language == "python":  # it was asked for by name
            raise
        return Stacks(missing=(Missing("threads.frames", f"{error} {error.help_text}".strip()),))


def _beyond(language: str, depth: Depth) -> tuple[Missing, ...]:
    """What was asked for and is not to be had of this kind of process."""
    found = []
    if depth.locals and language != "python":
        found.append(Missing("threads.locals", "local variables are read of Python only"))
    if depth.native and language in ("node", "go"):
        found.append(Missing("nativeStack", "C frames are read of Python and of native programs only"))
    return tuple(found)


def _python(facts: ProcessFacts, depth: Depth, timeout_s: float) -> Stacks:
    missing: list[Missing] = []
    threads: tuple[Thread, ...] = ()
    pause_s = 0.0
    if depth.stops:
        threads, pause_s = _read_standing(facts, depth, timeout_s, missing)
    if not threads:
        threads, moved = pyspy.dump_settled(facts.pid, timeout_s=timeout_s)
        missing += moved
    return Stacks(threads, "py-spy", tuple(missing), pause_s)


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


def _native(facts: ProcessFacts, _depth: Depth, timeout_s: float) -> Stacks:
    held = standing(facts)
    if held:
        return Stacks(missing=(Missing("threads.frames", f"the process is {held}; eu-stack would take hold of it"),))
    from diag.collectors import eu_stack

    with PauseWatch(facts.pid) as watch:
        threads = eu_stack.dump(facts.pid, timeout_s=timeout_s)
    return Stacks(threads, "eu-stack", pause_s=max(watch.pause_s, TICK_S))  # often shorter than what can be seen


def _go(facts: ProcessFacts, _depth: Depth, timeout_s: float) -> Stacks:
    from diag.collectors import go_stacks

    threads, stood_s = go_stacks.dump(facts.pid, timeout_s=timeout_s)
    return Stacks(threads, "go", pause_s=stood_s, whole=True)


def _node(facts: ProcessFacts, _depth: Depth, _timeout_s: float) -> Stacks:
    from diag.collectors import node_stacks  # the web socket's library costs as much as the look

    thread, stood_s = node_stacks.dump(facts.pid)
    return Stacks((thread,), "node", pause_s=stood_s)


_READERS: dict[str, Callable[[ProcessFacts, Depth, float], Stacks]] = {
    "python": _python,
    "go": _go,
    "node": _node,
    "native": _native,
}


def standing(facts: ProcessFacts) -> str | None:
    """Who keeps the process from running, in words; None where nobody does."""
    if facts.tasks and all(task.state in "Tt" for task in facts.tasks):
        return STOPPED
    # The kernel does not tell everybody where a thread waits.
    if facts.cgroup.get("frozen") or (facts.tasks and all(task.wait_channel in _FROZEN_IN for task in facts.tasks)):
        return FROZEN
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
