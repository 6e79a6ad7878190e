"""Processes that die of an exception which somebody catches and prints: no hook of the interpreter sees those.

Both places are told apart by who calls: what we replace is called in the `except` block, with the exception at hand.
"""

import sys


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


def _note_from(session, catcher):
    try:
        exc = sys.exc_info()[1]
        if isinstance(exc, Exception) and sys._getframe(2).f_code.co_name == catcher:
            session.note_last(exc, exc.__traceback__)
    except Exception:  # the process dies of its own error, not of ours
        session.count_dropped()
