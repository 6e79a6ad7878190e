"""Where the program leaves: sys.exit and os._exit are noted with their callers before they do what they do.

So are exec, after which the black box speaks of a program that is no more, and os.kill: the kernel tells nobody who
sent a signal.
"""

import os
import sys
from marshal import dumps

from . import layout, record

CALLERS = 6  # told of an os.kill: subprocess and multiprocessing put a few of their own before the program's


class Exits:
    """Stands before the calls by which a program ends itself."""

    def __init__(self, session, find_unseen_exception):
        self.session = session
        self.find_unseen_exception = find_unseen_exception
        self.undo = []

    def install(self):
        """Look at them from now on."""
        self._follow(sys, "exit", self._leave)
        self._follow(os, "_exit", self._leave_at_once)
        # Before 3.11 the traceback of what a handler of the program's own signal raises would show our frame.
        if sys.version_info >= (3, 11):
            self._follow(os, "kill", self._send)
        for name in ("execv", "execve"):
            self._follow(os, name, self._become, self._stay)

    def uninstall(self):
        """Give them back."""
        for owner, name, real in self.undo:
            setattr(owner, name, real)
        self.undo.clear()

    def _follow(self, owner, name, before, failed=None):
        real = getattr(owner, name)
        followed = Followed(self.session, real, before, failed)
        # os has its own from posix, and pickle looks for them there.
        for each in {owner, sys.modules[real.__module__]}:
            self.undo.append((each, name, real))
            setattr(each, name, followed)

    def _leave(self, args):
        if record.is_main_thread():  # elsewhere it ends the thread alone
            self._note("sys.exit", args)

    def _leave_at_once(self, args):
        exc = self.find_unseen_exception()
        if exc is not None:
            self.session.note_last(exc, exc.__traceback__)
        self._note("os._exit", args)

    def _note(self, call, args):
        status, message = _meaning(args[0] if args else None)
        if status:
            # Below this are _leave and __call__, and then the program, if any of it is left.
            self.session.note_exit(call, status, message, sys._getframe(2).f_back)
        elif call == "os._exit" and self.session.box is not None:
            self.session.box.mark(layout.LEFT_CLEANLY)  # no exit handler will

    def _send(self, args):
        pid, number = args
        link = self.session.link
        if link is not None and number and pid > 0:  # 0 asks whether it is there, and servers ask often
            frames = record.stack_frames(sys._getframe(1).f_back, CALLERS)
            link.tell(layout.KILL + dumps((int(pid), int(number), frames), 4))

    def _become(self, args):
        if self.session.box is not None:
            self.session.box.mark(layout.REPLACED)

    def _stay(self):
        if self.session.box is not None:
            self.session.box.mark(layout.RUNNING)


class Followed:
    """A builtin that is looked at when it is called. Like one, it becomes no method of a class that holds it."""

    def __init__(self, session, real, before, failed):
        self._session, self._real, self._before, self._failed = session, real, before, failed
        self.__module__, self.__doc__ = real.__module__, real.__doc__
        self.__name__, self.__qualname__ = real.__name__, real.__qualname__

    def __call__(self, *args, **kwargs):
        try:
            self._before(args or tuple(kwargs.values()))
        except Exception:  # the program leaves all the same
            self._session.count_dropped()
        try:
            return self._real(*args, **kwargs)
        except BaseException as exc:
            if self._failed is not None:
                self._failed()
            # Without our frame; from Python 3.11 on the bare raise takes it from here, and no traceback shows it.
            exc.__traceback__ = exc.__traceback__.tb_next
            raise

    def __reduce__(self):
        return self.__name__

    def __repr__(self):
        return repr(self._real)


def _meaning(code):
    """(exit status, message) of what sys.exit was given (CPython: handle_system_exit in pythonrun.c)."""
    if code is None:
        return 0, ""
    if isinstance(code, int):
        return int(code) & 0xFF, ""
    if isinstance(code, str):
        return 1, record.text(code, record.MESSAGE)
    if issubclass(type(code), BaseException):  # Python prints its message
        return 1, record.text("%s: %s" % (type(code).__name__, record.message(code)), record.MESSAGE)
    return 1, record.safe_repr(code)
