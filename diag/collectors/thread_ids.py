"""From the numbers that a process knows its threads by to the kernel's, as we see them from outside."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable
from dataclasses import replace

from diag.collectors.procfs import ProcFolder, parse_status
from diag.errors import NoSuchInstance
from diag.evidence import Thread

# Where glibc keeps the kernel's number in its `struct pthread` on x86-64; elsewhere it is looked for near the start.
GLIBC_TID_AT = 0x2D0
_PTHREAD_BYTES = 1024


def with_kernel_ids(pid: int, threads: Iterable[Thread]) -> tuple[Thread, ...]:
    """The threads by the numbers in /proc/<pid>/task; one that is not found there keeps its number.

    Python before 3.11 knows a thread by the address of its `struct pthread`, later ones by the number in their own
    pid namespace.
    """
    found = tuple(threads)
    try:
        with ProcFolder(pid) as folder:
            inner = inner_ids(folder)
            ours = set(inner.values())
            if all(thread.thread_id in ours for thread in found):
                return found
            return tuple(_renumbered(folder, inner, thread) for thread in found)
    except (OSError, NoSuchInstance):
        return found


def inner_ids(folder: ProcFolder) -> dict[int, int]:
    """The number of each thread in its innermost pid namespace to its number here (proc_pid_status(5), NSpid)."""
    inner = {}
    for name in folder.names("task"):
        with contextlib.suppress(OSError):
            numbers = parse_status(folder.text(f"task/{name}/status")).get("NSpid", name).split()
            inner[int(numbers[-1])] = int(name)
    return inner


def _renumbered(folder: ProcFolder, inner: dict[int, int], thread: Thread) -> Thread:
    number = inner.get(thread.thread_id)
    if number is None:
        number = _of_pthread(folder, inner, thread.thread_id)
    return thread if number is None else replace(thread, thread_id=number)


def _of_pthread(folder: ProcFolder, inner: dict[int, int], address: int) -> int | None:
    raw = _memory(folder, address)
    words = [word for (word,) in struct.iter_unpack("<i", raw[: len(raw) & ~3])]
    usual = GLIBC_TID_AT // 4
    if len(words) > usual and words[usual] in inner:
        return inner[words[usual]]
    candidates = {word for word in words if word in inner}
    return inner[candidates.pop()] if len(candidates) == 1 else None


def _memory(folder: ProcFolder, address: int) -> bytes:
    try:
        memory = folder.open("mem")
    except OSError:
        return b""
    try:
        return os.pread(memory, _PTHREAD_BYTES, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(memory)
