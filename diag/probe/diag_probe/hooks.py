"""The interpreter's own hooks. Each calls the previous one on every path."""

import atexit
import sys

from . import layout

# Where a stack begins while the program still runs; below a hook that the interpreter calls at the end is nothing.
RUNNING = ("<module>", "_run_module_as_main", "_bootstrap")
NOT_ERRORS = (KeyboardInterrupt, SystemExit)


class Hooks:
    """sys.excepthook, sys.unraisablehook, threading.excepthook and the exit, chained."""

    def __init__(self, session):
        self.session = session
        self.undo = []

    def install(self):
        """Chain in front of what is there. `atexit` runs backwards, so ours, the first, runs last."""
        atexit.register(self._leave)
        self._replace(sys, "excepthook", "__excepthook__", self._uncaught)
        self._replace(sys, "unraisablehook", "__unraisablehook__", self._unraisable)

    def watch_threading(self, session, threading, replace):
        """threading has been imported: chain in front of its excepthook."""
        self._replace(threading, "excepthook", "__excepthook__", self._in_thread)

    def uninstall(self):
        """Put back what was there."""
        atexit.unregister(self._leave)
        for owner, name, previous in reversed(self.undo):
            setattr(owner, name, previous)
        self.undo.clear()

    def _replace(self, owner, name, default_name, look):
        previous = getattr(owner, name)
        hook = _chain(self.session, look, previous)
        hook.__name__ = hook.__qualname__ = name
        # Programs ask whether the hook is still the default one (`code.InteractiveInterpreter` does) and behave
        # differently; and one that calls the default hook at its end reaches ours.
        names = (name, default_name) if getattr(owner, default_name, None) is previous else (name,)
        for each in names:
            self.undo.append((owner, each, previous))
            setattr(owner, each, hook)

    def _uncaught(self, exc_type, exc, tb):
        if exc is None or _is_no_error(exc) or hasattr(sys, "ps1"):
            return
        if sys.flags.inspect or not _is_ending():
            self.session.note("uncaught", exc, tb)
        else:
            self.session.note_last(exc, tb)

    def _unraisable(self, unraisable):
        if not issubclass(unraisable.exc_type, NOT_ERRORS):
            self.session.note("unraisable", unraisable.exc_value, unraisable.exc_traceback, unraisable.exc_type)

    def _in_thread(self, args):
        if not issubclass(args.exc_type, NOT_ERRORS):
            self.session.note("thread", args.exc_value, args.exc_traceback, args.exc_type)

    def _leave(self):
        session = self.session
        try:
            exc = unseen_exception()
            if exc is not None:
                session.note_last(exc, exc.__traceback__)
        except Exception:
            session.count_dropped()
        if session.box is not None:
            session.box.mark(layout.LEFT_CLEANLY)


def _chain(session, look, previous):
    def hook(*args):
        try:
            look(*args)
        except Exception:  # the host dies of its own error, not of ours
            session.count_dropped()
        finally:
            previous(*args)

    return hook


def _is_no_error(exc):
    """By its real type: isinstance asks the exception's own __class__, too."""
    return issubclass(type(exc), NOT_ERRORS)


def _is_ending():
    """Whether the interpreter called the hook: then none of the program's frames is left below it."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name not in RUNNING


def unseen_exception():
    """What ended the program where its own sys.excepthook did not chain to ours.

    CPython keeps it in sys.last_value before it calls whichever hook is set. Debuggers and test runners leave theirs
    there too, but those never went through the program's outermost frame.
    """
    exc = getattr(sys, "last_value", None)
    tb = getattr(exc, "__traceback__", None)
    if exc is None or _is_no_error(exc) or hasattr(sys, "ps1") or sys.flags.inspect:
        return None
    if tb is None:
        return exc if isinstance(exc, SyntaxError) else None
    code, module = tb.tb_frame.f_code, tb.tb_frame.f_globals.get("__name__")
    outermost = code.co_name in RUNNING and (module == "__main__" or code.co_name != "<module>")
    return exc if outermost else None
