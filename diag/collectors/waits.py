"""What each thread of a process waits for: the kernel says in which call, its memory says which lock.

A holder is named only where the thread has not run between two looks that agree: nothing is stopped for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from diag.collectors.descriptors import Descriptors
from diag.collectors.file_locks import FileLocks
from diag.collectors.lock_owners import Locks
from diag.collectors.process_memory import Memory
from diag.collectors.procfs import ProcFolder, parse_maps, parse_task
from diag.collectors.syscalls import call_of, meaning
from diag.collectors.thread_ids import inner_ids, with_kernel_ids
from diag.errors import NoSuchInstance
from diag.evidence import Thread, Wait


@dataclass(frozen=True, slots=True)
class Waits:
    """What the threads of a process wait for, by the kernel's number.

    `runs` is how often each thread has been put to sleep: it has not run where two looks have the same. One whose
    number could not be read has none.
    """

    by_thread: dict[int, Wait]
    runs: dict[int, tuple[int, int]]


def look_at_waits(pid: int, *, python: bool) -> Waits:
    """One look. Empty where this user may not read it, or the process is gone."""
    by_thread: dict[int, Wait] = {}
    runs: dict[int, tuple[int, int]] = {}
    try:
        with ProcFolder(pid) as folder, Memory(folder) as memory:
            known = Locks(memory, parse_maps(folder.text("maps")), inner_ids(folder), python=python)
            descriptors, files = Descriptors(folder), FileLocks(pid)
            owners: dict[int, int] = {}
            for name in folder.names("task"):
                thread_id = int(name)
                if (often := _runs(folder, thread_id)) is not None:
                    runs[thread_id] = often
                call = call_of(folder, thread_id)
                if call is None:
                    continue
                waited = known.waited(call)
                by_thread[thread_id] = waited.wait if waited else files.waited(meaning(call, descriptors))
                if waited and waited.owner:
                    owners[thread_id] = waited.owner
    except (OSError, NoSuchInstance):
        return Waits({}, {})
    return Waits(_with_owners(pid, by_thread, owners), runs)


def settled(before: Waits, after: Waits) -> Waits:
    """What both looks say; of threads that ran in between no holder is named."""
    steady = {id_ for id_, runs in after.runs.items() if before.runs.get(id_) == runs}
    return replace(
        after,
        by_thread={
            id_: wait if id_ in steady and before.by_thread.get(id_) == wait else replace(wait, holder=None, proof="")
            for id_, wait in after.by_thread.items()
        },
    )


def with_waits(threads: Iterable[Thread], waits: Waits, *, between: bool) -> tuple[Thread, ...]:
    """The threads with what they wait for.

    Whoever waits for the GIL waits for the thread that has it, where that was read `between` the two looks: whoever has
    not run in between has not let go of it either.
    """
    found = tuple(threads)
    holders = [thread.thread_id for thread in found if thread.holds_gil and between]
    holder = holders[0] if len(holders) == 1 else None
    return tuple(replace(thread, waiting=_waiting(thread, waits, holder)) for thread in found)


def _waiting(thread: Thread, waits: Waits, gil_holder: int | None) -> Wait | None:
    if thread.state == "running" and thread.frames:  # by the word of its own runtime, at another moment
        return None
    wait = thread.waiting or waits.by_thread.get(thread.thread_id)
    if wait is None or wait.kind != "gil" or gil_holder is None:
        return wait
    if gil_holder == thread.thread_id:  # it has got it since
        return None
    return replace(wait, holder=gil_holder, proof=f"py-spy found the GIL with thread {gil_holder}")


def _with_owners(pid: int, waits: dict[int, Wait], owners: dict[int, int]) -> dict[int, Wait]:
    """With the holders of RLocks: an owner is the address of its `struct pthread`."""
    idents = [owner for owner in dict.fromkeys(owners.values()) if owner]
    known = {ident: one.thread_id for ident, one in zip(idents, with_kernel_ids(pid, map(Thread, idents)), strict=True)}
    found = dict(waits)
    for thread_id, owner in owners.items():
        holder = known.get(owner, owner)
        if owner and holder != owner:
            resource = waits[thread_id].resource
            found[thread_id] = replace(
                waits[thread_id], holder=holder, proof=f"{resource} is locked, and its owner is thread {holder}"
            )
    return found


def _runs(folder: ProcFolder, thread_id: int) -> tuple[int, int] | None:
    try:
        _, _, voluntary, involuntary = parse_task(folder.small(f"task/{thread_id}/status"))
    except (OSError, ValueError):
        return None
    return voluntary, involuntary
