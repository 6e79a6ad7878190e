"""What this process tells the agent: its link and its black box, made anew in every fork."""

import os
import sys
from _thread import get_ident, get_native_id
from marshal import dumps
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from time import time

from . import blackbox, layout, link, record
from .heap import look_at_heap

EVENTS_A_SECOND = 5
# Given back before the last record is made, so that it can be made after a MemoryError: one arena of CPython's
# allocator and some. Never touched, so it is address space and no memory.
RESERVE = 1310720


def _nothing():
    return None


class Session:
    """One agent's socket, and what is open towards it. With no `box` there is nobody to tell."""

    def __init__(self, path, with_locals):
        self.path = path
        self.with_locals = with_locals
        self.link = None
        self.box = None
        self.header = {}
        self.find_request = _nothing
        self.on_new_link = _nothing
        self._died_of = None
        self._left_with = None
        self._reserve = None
        self._second, self._noted, self._suppressed = 0, 0, 0
        self._turns = [None]

    def open(self, forked):
        """Connect and make the box; whether the agent is there."""
        self._died_of = self._left_with = None
        self._turns = [None]
        self.link = link.connect(self.path)
        if self.link is None:
            return False
        folder = os.path.dirname(self.path) + "/" + layout.BOX_FOLDER
        self.box = blackbox.create(folder)
        self._reserve = mmap(-1, RESERVE, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self.header.update(_own_facts(), forked=forked)
        if self.box is not None:
            self.box.on_heap = self.renew
            self.box.write_header(self.header)
            self.box.write_heap(look_at_heap())  # of a program without requests and exceptions, the only look
        if self._greet():
            return True
        if self.box is not None:  # the agent has ended meanwhile, and nobody is to take it for one of a death
            os.unlink(folder + "/" + self.box.name)
        return False

    def _greet(self):
        name = None if self.box is None else self.box.name
        hello = {"v": 1, "box": name, "pid": os.getpid(), "forked": self.header["forked"]}
        return self.link.tell(layout.HELLO + dumps(hello, 4))

    def close(self):
        """Let go of link and box without a word; in a fork they are the parent's."""
        if self.box is not None:
            self.box.abandon()
        if self.link is not None:
            self.link.close()
        self.link = self.box = None

    def renew(self):
        """Link again, with a new box, where the program closed our descriptor or took its number for itself.

        Where the agent has ended, and another serves in its place, the box stays: requests stand in it.
        """
        if self.link is None:
            return
        if self.link.is_ours():
            if self.link.is_left():
                self._join_again()
            return
        if self.box is not None:
            self.box.mark(layout.RELINKED)
        self.close()
        if not self.open(self.header["forked"]):
            self.close()
        self.on_new_link()

    def _join_again(self):
        try:
            turn = self._turns.pop()  # one thread at a time; the others do not wait
        except IndexError:
            return
        try:
            found = link.connect(self.path)
            if found is not None:
                left, self.link = self.link, found
                self.on_new_link()  # before the number is free for others
                left.close()
                self._greet()
        finally:
            self._turns.append(turn)

    def set_header(self, name, value):
        """Change one entry of the box's header."""
        self.header[name] = value
        if self.box is not None:
            self.box.write_header(self.header)

    def count_dropped(self):
        """Something of ours failed and the program never saw it."""
        if self.box is not None:
            self.box.count_dropped()

    def note(self, kind, exc, tb, exc_type=None, request=None):
        """Add an exception that the process survives to the ring, and tell the agent; at most a few a second."""
        self.renew()
        if self.box is None:
            return
        now = time()
        if not self._may_note(int(now)):
            self._suppressed += 1
            self.box.count_dropped()
            return
        entry = self._entry(kind, exc, tb, exc_type, now, request)
        self._suppressed = 0
        index = self.box.add_event(record.pack(entry, layout.EVENT_SIZE - 4))
        self.link.tell(layout.EVENT + bytes((index,)))

    def _may_note(self, second):
        if second != self._second:
            self._second, self._noted = second, 0
        self._noted += 1
        return self._noted <= EVENTS_A_SECOND

    def note_last(self, exc, tb):
        """Record the exception that ends the process, all threads with it, and give the agent a moment to look."""
        self.renew()
        if self.box is None or self._died_of == id(exc):
            return
        self._died_of = id(exc)
        self._reserve = None
        entry = self._entry("uncaught", exc, tb, None, time(), None)
        entry["threads"] = self._if_it_may(record.other_threads, get_ident()) or []
        heap = self._if_it_may(look_at_heap, True)
        if heap:
            entry["heap"] = heap
            self.box.write_heap(heap)
        if self.box.write_fatal(record.pack(entry, layout.FATAL_SIZE - 4)):
            self.link.ask(layout.FATAL)

    def note_exit(self, call, status, message, frame):
        """Record where the program leaves, in the place of the exception that it does not die of."""
        if self.box is None or self._died_of is not None:
            return
        if call == "os._exit" and status == self._left_with:
            return  # a child of multiprocessing ends its sys.exit so
        self._left_with = status
        entry = {
            "time": time(),
            "kind": "exit",
            "tid": get_native_id(),
            "exception": record.leaving(message, frame),
            "request": self.find_request(),
            "suppressed": self._suppressed,
            "call": call,
            "status": status,
            "threads": self._if_it_may(record.other_threads, get_ident()) or [],
        }
        self.box.write_fatal(record.pack(entry, layout.FATAL_SIZE - 4))

    def _if_it_may(self, look, *args):
        """What the look finds; None where an audit hook of the program forbids it, or what it needs is not there."""
        try:
            return look(*args)
        except Exception:
            self.count_dropped()
            return None

    def _entry(self, kind, exc, tb, exc_type, now, request):
        return {
            "time": now,
            "kind": kind,
            "tid": get_native_id(),
            "exception": record.describe(exc, tb, self.with_locals, exc_type),
            "request": request or self.find_request(),
            "suppressed": self._suppressed,
        }


def _own_facts():
    version = sys.version_info
    return {
        "version": "%d.%d.%d" % version[:3],
        "implementation": "CPython",
        "executable": sys.executable,
        "prefix": sys.prefix,
        "argv": list(getattr(sys, "orig_argv", None) or _command_line()),
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "started": time(),
    }


def _command_line():
    """Before Python 3.10 only the kernel knows it this early."""
    fd = os.open("/proc/self/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode("utf-8", "replace").split("\0")[:-1]
    finally:
        os.close(fd)
