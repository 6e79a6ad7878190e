"""The black box: a mapped file that outlives the process, even after SIGKILL. layout.py says what stands where."""

import os
import sys
from marshal import dumps, loads
from mmap import mmap
from time import monotonic

from . import layout
from .heap import look_at_heap
from .link import keep_forever

EMPTY = b"\0\0\0\0"
RECORD_LIMIT = layout.SLOT_SIZE - 4 - 14  # marshal's float and int for duration and status come on top
HEAP_EVERY_S = 1.0


def create(folder):
    """A new Box in `folder`; None where it cannot be made whole (a hole in a full disk would be a SIGBUS)."""
    name = "%d-%s%s" % (os.getpid(), os.urandom(8).hex(), layout.BOX_SUFFIX)
    path = folder + "/" + name
    fd = -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)  # whatever the umask says
        os.posix_fallocate(fd, 0, layout.SIZE)
        return Box(name, _map(fd))
    except (OSError, ValueError):
        if fd >= 0:
            os.unlink(path)
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def _map(fd):
    """The file's memory, with no descriptor left behind."""
    if sys.version_info >= (3, 13):
        return mmap(fd, layout.SIZE, trackfd=False)
    # Before 3.13 mmap keeps a duplicate under the lowest free number. We close that behind its back, and so its
    # finaliser must never run: by then the number belongs to the program.
    number = os.dup(fd)
    os.close(number)
    memory = mmap(fd, layout.SIZE)
    keep_forever(memory)
    if os.path.samestat(os.fstat(number), os.fstat(fd)):
        os.close(number)
    return memory


def _counter():
    """A function that counts 0, 1, 2, …; one C call, so that no two threads get the same number."""
    return iter(range(1 << 62)).__next__


class Box:
    """The mapped file. Every write is a few copies into memory: no lock, no system call."""

    def __init__(self, name, memory):
        self.name = name
        self.memory = memory
        self._free = list(range(layout.SLOT_COUNT))
        self._started, self._finished, self._events = _counter(), _counter(), _counter()
        self._overflowed, self._dropped = _counter(), _counter()
        self._heap_due = 0.0
        self.on_heap = int  # called about once a second while requests finish; by default nothing worth a name
        memory[: len(layout.MAGIC)] = layout.MAGIC
        self.mark(layout.RUNNING)

    def abandon(self):
        """Never write again: after a fork the memory is the parent's."""
        self.memory = None

    def write(self, at, size, payload):
        """Replace the record at an offset; False where it does not fit or the box is abandoned."""
        memory, length = self.memory, len(payload)
        if memory is None or length > size - 4:
            return False
        start = at + 4
        memory[at:start] = EMPTY
        memory[start : start + length] = payload
        memory[at:start] = length.to_bytes(4, "little")
        return True

    def write_header(self, header):
        """Replace the HEADER record, cutting long command lines until it fits."""
        for kept in (64, 16, 4, 0):
            cut = dict(header, argv=[argument[:256] for argument in header["argv"][:kept]])
            if self.write(layout.HEADER_AT, layout.HEADER_SIZE, dumps(cut, 4)):
                return

    def mark(self, state):
        """Set the state byte."""
        if self.memory is not None:
            self.memory[layout.STATE_AT] = state

    def begin(self, record):
        """A slot that says this request is in flight; None where all are taken."""
        memory = self.memory
        if memory is None:
            return None
        memory[24:32] = (self._started() + 1).to_bytes(8, "little")  # layout.STARTED_AT
        try:
            slot = self._free.pop()
        except IndexError:
            self._count(layout.OVERFLOW_AT, self._overflowed)
            return None
        payload = dumps(record, 4)
        length = len(payload)
        if length <= RECORD_LIMIT:
            at = 4096 + slot * 384  # layout.SLOTS_AT, SLOT_SIZE: a global look-up each on the hottest path
            start = at + 4
            memory[start : start + length] = payload
            memory[at:start] = length.to_bytes(4, "little")
        return slot

    def rewrite(self, slot, record):
        """Replace what a slot says."""
        payload = dumps(record, 4)
        if len(payload) <= RECORD_LIMIT:
            self.write(layout.SLOTS_AT + slot * layout.SLOT_SIZE, layout.SLOT_SIZE, payload)

    def finish(self, slot, record, began, status):
        """Free the slot, and add the request, which began at a monotonic time, to the ring of finished ones."""
        memory = self.memory
        if memory is None:
            return
        if slot is not None:
            at = 4096 + slot * 384
            memory[at : at + 4] = EMPTY
            self._free.append(slot)
        number, now = self._finished(), monotonic()
        at = 53248 + number % 64 * 384  # layout.RECENT_AT, RECENT_COUNT
        start = at + 4
        payload = dumps(record + (now - began, status), 4)
        end = start + len(payload)
        if end <= at + 384:
            memory[at:start] = EMPTY
            memory[start:end] = payload
            memory[at:start] = (end - start).to_bytes(4, "little")
        memory[32:40] = (number + 1).to_bytes(8, "little")  # layout.FINISHED_AT
        if now >= self._heap_due:
            self.write_heap(look_at_heap())
            self.on_heap()

    def add_event(self, payload):
        """Write an exception record to the ring; its index there."""
        number = self._events()
        index = number % layout.EVENT_COUNT
        self.write(layout.EVENTS_RING_AT + index * layout.EVENT_SIZE, layout.EVENT_SIZE, payload)
        self._set(layout.EVENTS_AT, number + 1)
        return index

    def write_fatal(self, payload):
        """Write the exception that ends the process."""
        return self.write(layout.FATAL_AT, layout.FATAL_SIZE, payload)

    def write_heap(self, heap):
        """Write a look at the heap; the next one after a request is a second away."""
        self._heap_due = monotonic() + HEAP_EVERY_S
        self.write(layout.HEAP_AT, layout.HEAP_SIZE, dumps(heap, 4))

    def take_question(self):
        """What diag asks, which is then gone; None where it asks nothing."""
        memory, start = self.memory, layout.QUESTION_AT + 4
        if memory is None or memory[layout.QUESTION_AT : start] == EMPTY:
            return None
        question = loads(memory[start : layout.QUESTION_AT + layout.QUESTION_SIZE])
        memory[layout.QUESTION_AT : start] = EMPTY
        return question

    def count_dropped(self):
        """One more event that is not in the ring."""
        self._count(layout.DROPPED_AT, self._dropped)

    def _count(self, at, counter):
        self._set(at, counter() + 1)

    def _set(self, at, value):
        if self.memory is not None:
            self.memory[at : at + 8] = value.to_bytes(8, "little")
