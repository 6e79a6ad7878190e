"""Which lock a thread waits for, and who holds it, read from the process's memory; nothing is guessed.

CPython up to 3.13 waits for a lock on the futex of a semaphore (Python/thread_pthread.h). The object that this
semaphore belongs to is somewhere on the waiting thread's C stack, since it is needed when the wait is over: a word of
the stack that leads to an object of the type `_thread.lock` or `_thread.RLock` with this very semaphore in it
(Modules/_threadmodule.c). An RLock knows its owner, a Lock does not. glibc's mutex holds the thread that locked it
(struct __pthread_mutex_s).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from diag.collectors.process_memory import Memory
from diag.collectors.syscalls import Call
from diag.evidence import Mapped, Wait

STACK_BYTES = 8192
_FUTEX_WAIT = 0
_PRIVATE = 0x80
_LOCK_TYPES = {"_thread.lock": "Lock", "_thread.RLock": "RLock"}
_TYPE_NAME_AT = 24  # PyVarObject's three words
_CONTENDED = 2  # glibc lowlevellock.h: locked, with waiters
_KINDS = 0x03  # pthread_mutex_t's four types; the other bits are flags
_MUTEX_FLAGS = 0x180  # not shared, elision: all that a mutex of one process may have besides


@dataclass(frozen=True, slots=True)
class Waited:
    """A thread's wait for a lock; `owner` is the ident of the thread that a Python lock names as its owner, or 0."""

    wait: Wait
    owner: int = 0


class Locks:
    """Knows the locks of one process. `inner` leads from a thread's number in its own pid namespace to the one here."""

    def __init__(self, memory: Memory, maps: tuple[Mapped, ...], inner: Mapping[int, int], *, python: bool) -> None:
        self._memory = memory
        self._inner = inner
        self._python = python
        self._heap = [one for one in maps if one.permissions.startswith("rw")]
        self._gil = _static_data(maps) if python else ()
        self._objects: dict[int, tuple[int, str]] = {}

    def waited(self, call: Call) -> Waited | None:
        """What this futex stands for; None where it cannot be told."""
        if not call.futex:
            return None
        if any(start <= call.futex < end for start, end in self._gil):
            return Waited(Wait("gil", "waits for the GIL", "the GIL"))
        return self._join(call) or self._mutex(call) or (self._object(call) if self._python else None)

    def _join(self, call: Call) -> Waited | None:
        """pthread_join waits for the kernel to clear the thread's number, by a futex that is not private."""
        number = call.arguments[2] & 0xFFFFFFFF
        holder = self._inner.get(number)
        private = call.arguments[1] & _PRIVATE
        if private or holder is None or self._memory.read(call.futex, 4) != struct.pack("<I", number):
            return None
        what = f"the end of thread {holder}"
        proof = f"it waits for the kernel to clear thread {holder}'s number (pthread_join)"
        return Waited(Wait("join", f"waits for {what}", what, holder, proof, timed=call.arguments[3] != 0))

    def _mutex(self, call: Call) -> Waited | None:
        if call.futex_command != _FUTEX_WAIT or call.arguments[2] != _CONTENDED:
            return None
        state, _, owner, users, kind = struct.unpack("<iIiIi", self._memory.read(call.futex, 20))
        holder = self._inner.get(owner)
        if state != _CONTENDED or holder is None or not users or kind & ~(_KINDS | _MUTEX_FLAGS):
            return None
        name = f"mutex {call.futex:#x}"
        proof = f"{name} is locked, and its owner is thread {holder} (struct __pthread_mutex_s)"
        return Waited(Wait("mutex", f"waits for {name}", name, holder, proof, timed=call.arguments[3] != 0))

    def _object(self, call: Call) -> Waited | None:
        address, kind = self._objects.get(call.futex) or self._search(call)
        if not address:
            return None
        self._objects[call.futex] = address, kind
        _, _, semaphore, owner, count = self._memory.words(address, 5)
        if semaphore != call.futex:
            return None
        name = f"{kind} {address:#x}"
        wait = Wait("lock", f"waits for {name}", name, timed=call.arguments[3] != 0)
        return Waited(wait, owner if kind == "RLock" and count else 0)

    def _search(self, call: Call) -> tuple[int, str]:
        """The lock among what the words on the stack lead to."""
        for word in dict.fromkeys(self._memory.words(call.stack, STACK_BYTES // 8)):
            if word % 8 or not self._in_heap(word):
                continue
            _, kind, semaphore = self._memory.words(word, 3)
            if semaphore == call.futex and self._in_process(kind):
                (name,) = self._memory.words(kind + _TYPE_NAME_AT, 1)
                named = _LOCK_TYPES.get(self._memory.text(name))
                if named:
                    return word, named
        return 0, ""

    def _in_heap(self, address: int) -> bool:
        return any(one.start <= address < one.end for one in self._heap)

    def _in_process(self, address: int) -> bool:
        return 0 < address < 1 << 47


def _static_data(maps: tuple[Mapped, ...]) -> tuple[tuple[int, int], ...]:
    """Where the interpreter's static data is: its writable mapping, and the memory without a file right behind it.

    `_PyRuntime` is there, and in it the condition that threads without the GIL wait on; locks are never.
    """
    found, end = [], 0
    for one in maps:
        name = one.path.rpartition("/")[2].removesuffix(" (deleted)")
        if name.startswith(("python", "libpython")) and one.permissions.startswith("rw"):
            found.append((one.start, one.end))
            end = one.end
        elif not one.path and one.start == end and one.permissions.startswith("rw"):
            found.append((one.start, one.end))
    return tuple(found)
