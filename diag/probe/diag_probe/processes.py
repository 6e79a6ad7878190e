"""Processes that die of an exception which somebody catches and prints: no hook of the interpreter sees those.

Both places are told apart by who calls: what we replace is called in the `except` block, with the exception at hand.
And workers that their server is about to end, which the agent can look at before.
"""

import sys
from _signal import SIGABRT
from marshal import dumps

from . import layout


def watch_multiprocessing(session, module, replace):
    """A child of multiprocessing: `_bootstrap` asks for the name to print, prints the traceback and leaves."""
    process = module.BaseProcess
    name = process.name

    def name_followed(self):
        _note_from(session, "_bootstrap")
        return name.fget(self)

    replace(process, "name", property(name_followed, name.fset, name.fdel, name.__doc__))


def watch_gunicorn_log(session, module, replace):
    """A worker of gunicorn that fails while it starts: `spawn_worker` logs the exception and leaves."""
    exception = module.Logger.exception

    def exception_followed(self, msg, *args, **kwargs):
        _note_from(session, "spawn_worker")
        exception(self, msg, *args, **kwargs)

    exception_followed.__name__, exception_followed.__qualname__ = exception.__name__, exception.__qualname__
    replace(module.Logger, "exception", exception_followed)


def watch_gunicorn_arbiter(session, module, replace):
    """A worker that is silent for too long: its master sends SIGABRT first, and only then it is worth a look."""
    kill_worker = module.Arbiter.kill_worker

    def kill_worker_followed(self, pid, sig):
        if sig == SIGABRT:
            _tell_stuck(session, pid)
        return kill_worker(self, pid, sig)

    kill_worker_followed.__name__, kill_worker_followed.__qualname__ = kill_worker.__name__, kill_worker.__qualname__
    replace(module.Arbiter, "kill_worker", kill_worker_followed)


def _tell_stuck(session, pid):
    try:
        session.renew()
        if session.link is not None:
            session.link.ask(layout.STUCK + dumps(pid, 4))
    except Exception:  # the worker is ended all the same
        session.count_dropped()


def _note_from(session, catcher):
    try:
        exc = sys.exc_info()[1]
        if isinstance(exc, Exception) and sys._getframe(2).f_code.co_name == catcher:
            session.note_last(exc, exc.__traceback__)
    except Exception:  # the process dies of its own error, not of ours
        session.count_dropped()
