"""What only the inside of a Python process knows of its waits: tasks of event loops, and who stands in which `with`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diag.collectors import questions
from diag.collectors.collector import Subject
from diag.collectors.proc import start_ticks
from diag.collectors.thread_ids import with_kernel_ids
from diag.collectors.threads import standing
from diag.collectors.waits import Waits, look_at_waits
from diag.errors import DiagError, NoSuchInstance
from diag.evidence import AsyncTask, EventLoop, Evidence, Frame, Thread
from diag.model import Cost, Missing

PATIENCE_S = 2.0
RETURNS_S = 0.1
_LOOPS = "/_asyncio."  # asyncio's part in C: only a program that imports asyncio has it mapped
# Threads in these wait for work, and not for a lock that somebody keeps.
_IDLE = ("queue.py", "thread.py", "threading.py", "selectors.py")


def ask_inside(evidence: Evidence, run_dir: Path | None, wanted: bool | None) -> Evidence:
    """The evidence with event loops, and with the holders of locks that do not know their owner themselves.

    `run_dir` is the folder of its agent, where it has one. Without `wanted` (None) the probe is asked only where that
    can tell something new: it takes the main thread's time.
    """
    if not evidence.instance.runtime.startswith("python") or wanted is False:
        return evidence
    unknown = _has_unknown_holders(evidence)
    if wanted is None and not (_has_loops(evidence) or unknown):
        return replace(evidence, loops=()) if evidence.process and evidence.process.maps else evidence
    pid = evidence.instance.pid
    held = standing(evidence.process) if evidence.process else None
    subject = Subject(evidence.instance, pid, start_ticks(pid), evidence.instance.runtime, held, run_dir)
    before = look_at_waits(pid, python=True)
    try:
        answer = questions.ask(subject, "waits", {"threads": unknown}, patience_s=PATIENCE_S)
    except NoSuchInstance:
        raise
    except DiagError as error:
        reason = f"{error} {error.help_text}".strip()
        of_loops = wanted or _has_loops(evidence)
        missing = Missing("asyncio" if of_loops else "threads.waiting", reason)
        return replace(evidence, loops=None if of_loops else (), incomplete=(*evidence.incomplete, missing))
    ids = _Ids(pid)
    still = _still_waiting(pid, before, _look_again(pid, before))
    threads = _with_holders(evidence.threads, answer.value, ids, still)
    loops = tuple(_loop(loop, ids) for loop in answer.value["loops"])
    cost = evidence.cost
    spent = Cost(cost.pause_s + answer.held_s, cost.cpu_s, cost.duration_s)
    return replace(evidence, threads=threads, loops=loops, cost=spent)


def _has_loops(evidence: Evidence) -> bool:
    return evidence.process is not None and any(_LOOPS in mapped.path for mapped in evidence.process.maps)


def _has_unknown_holders(evidence: Evidence) -> bool:
    """Whether a thread waits for a lock of the program's own, and nobody has said who holds it."""
    return any(_unknown(thread) and not _idles(thread) for thread in evidence.threads)


def _unknown(thread: Thread) -> bool:
    wait = thread.waiting
    return wait is not None and wait.kind == "lock" and wait.holder is None and not wait.timed


def _idles(thread: Thread) -> bool:
    top = next((frame for frame in thread.frames if frame.language == "python"), None)
    if top is None:
        return True
    joins = top.function.rpartition(".")[2] in ("join", "_wait_for_tstate_lock")
    return (top.file or "").endswith(_IDLE) and not joins


class _Ids:
    """From the numbers that Python has for threads to the kernel's, each looked up once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._known: dict[int, int | None] = {}

    def of(self, ident: int | None) -> int | None:
        if ident is None:
            return None
        if ident not in self._known:
            (found,) = with_kernel_ids(self._pid, [Thread(ident)])
            self._known[ident] = found.thread_id if found.thread_id != ident else None
        return self._known[ident]


def _look_again(pid: int, before: Waits) -> Waits:
    """The waits after the answer. The main thread has a moment to return to what it waited for."""
    until = time.monotonic() + RETURNS_S
    while True:
        after = look_at_waits(pid, python=True)
        if before.by_thread.get(pid) == after.by_thread.get(pid) or time.monotonic() > until:
            return after
        time.sleep(RETURNS_S / 50)


def _still_waiting(pid: int, before: Waits, after: Waits) -> set[int]:
    """The threads that have waited for the same all the time. The main thread ran to answer, and then waited again."""
    return {
        id_
        for id_, wait in after.by_thread.items()
        if before.by_thread.get(id_) == wait
        and (id_ == pid or (id_ in after.runs and before.runs.get(id_) == after.runs[id_]))
    }


def _with_holders(
    threads: tuple[Thread, ...], value: Mapping[str, Any], ids: _Ids, still: set[int]
) -> tuple[Thread, ...]:
    """Named only where one single thread stands in a `with` over the lock: two cannot both hold it."""
    entered = Counter(address for _, address, *_ in value["held"])
    blocks = {
        address: (ids.of(ident), f"`with {name}:` in {function} ({file}:{line})")
        for ident, address, name, function, file, line in value["held"]
        if entered[address] == 1
    }
    joined = {ids.of(one): ids.of(other) for one, other in value["joins"]}
    return tuple(_with_holder(thread, blocks, joined) if thread.thread_id in still else thread for thread in threads)


def _with_holder(
    thread: Thread, blocks: Mapping[int, tuple[int | None, str]], joined: Mapping[int | None, int | None]
) -> Thread:
    wait = thread.waiting
    if wait is None or wait.holder is not None or wait.kind != "lock" or wait.timed:
        return thread
    other = joined.get(thread.thread_id)
    if other is not None:
        what = f"the end of thread {other}"
        proof = f"it is in Thread.join of thread {other}, without a time-out"
        wait = replace(wait, kind="join", what=f"waits for {what}", resource=what, holder=other, proof=proof)
        return replace(thread, waiting=wait)
    holder, place = blocks.get(_address(wait.resource), (None, ""))
    if holder is None:
        return thread
    proof = f"thread {holder} stands inside of {place}, and that is {wait.resource}"
    return replace(thread, waiting=replace(wait, holder=holder, proof=proof))


def _address(resource: str) -> int:
    number = resource.rpartition(" ")[2]
    return int(number, 16) if number.startswith("0x") else 0


def _timed(tasks: Sequence[Mapping[str, Any]]) -> set[int]:
    """The tasks over which a time-out stands: it cancels the task, and so each one that this awaits."""
    found = {task["id"] for task in tasks if task["timed"]}
    todo = list(found)
    while todo:
        above = todo.pop()
        below = {task["id"] for task in tasks if above in task["awaited_by"]}
        below |= {one for task in tasks if task["id"] == above for one in task["awaits"]}
        todo += below - found
        found |= below
    return found


def _loop(loop: Mapping[str, Any], ids: _Ids) -> EventLoop:
    entered = Counter(address for task in loop["tasks"] for address, *_ in task["holds"])
    holders = {
        address: (task["id"], f"`async with {name}:` in {function} ({file}:{line})")
        for task in loop["tasks"]
        for address, name, function, file, line in task["holds"]
        if entered[address] == 1
    }
    timed = _timed(loop["tasks"])
    return EventLoop(
        loop_id=loop["id"],
        kind=loop["type"],
        thread_id=ids.of(loop["thread"]),
        running=loop["running"],
        tasks=tuple(_task(task, holders, task["id"] in timed) for task in loop["tasks"]),
        ready=loop["ready"],
        timers=loop["timers"],
        overdue_s=loop["overdue_s"],
    )


def _task(task: Mapping[str, Any], holders: Mapping[int, tuple[int, str]], timed: bool) -> AsyncTask:
    lock = task["waits_on"]
    resource = f"asyncio.Lock {lock:#x}" if lock else ""
    holder, place = holders.get(lock, (None, ""))
    return AsyncTask(
        task_id=task["id"],
        name=task["name"],
        coroutine=task["coroutine"],
        state=task["state"],
        frames=tuple(Frame(function, file, line, module) for function, file, line, module in task["frames"]),
        awaits=tuple(task["awaits"]),
        alone=task["whole"],
        awaited_by=tuple(task["awaited_by"]),
        resource=resource,
        holder=holder,
        proof=f"the task that has it stands inside of {place}, and that is {resource}" if holder else "",
        timed=timed,
    )
