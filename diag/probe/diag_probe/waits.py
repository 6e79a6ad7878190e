"""Who holds the locks that threads and tasks wait for, whom they join, and the tasks of event loops: for diag."""

import sys
from _thread import get_ident

from .event_loops import look_at_loops
from .holding import Reader, attribute

THREADS = 1000
FRAMES = 200


def answer(frame, arguments):
    """{"held": [HELD, ..], "joins": [(ident, ident of the thread whose end it waits for), ..], "loops": [..]}

    With {"threads": False} the first two are empty: to walk through hundreds of threads takes its time.

    HELD = (ident of the thread that stands in a `with` over it, address of the lock, name, function, file, line)
    """
    threading = sys.modules.get("threading")
    reader = Reader(_lock_of, threading.Condition.wait.__code__ if threading is not None else None)
    locks, joins = [], []
    frames = sys._current_frames() if arguments.get("threads", True) else {}
    if frames and frame is not None:
        frames[get_ident()] = frame  # without what answers
    for ident, innermost in list(frames.items())[:THREADS]:
        joins += _joined(ident, innermost, threading)
        locks += [(ident, *one) for one in reader.held(_outwards(innermost))]
    return {"held": locks, "joins": joins, "loops": look_at_loops()}


def _outwards(frame):
    for _ in range(FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _lock_of(value):
    """The lock that a `with` over this value holds; None where it is none of Python's own."""
    kinds = _lock_types()
    if type(value) in kinds:
        return value
    condition = getattr(sys.modules.get("threading"), "Condition", None)
    if condition is not None and condition in type.__dict__["__mro__"].__get__(type(value)):
        inner = attribute(value, "_lock")
        return inner if type(inner) in kinds else None
    return None


def _lock_types():
    thread = sys.modules["_thread"]
    return thread.LockType, thread.RLock


def _joined(ident, frame, threading):
    """The thread that this one waits for the end of, where it does so without a time-out."""
    if threading is None:
        return []
    join = threading.Thread.join.__code__
    for one in list(_outwards(frame))[:4]:
        if one.f_code is join:
            values = one.f_locals
            other = attribute(values["self"], "_ident")
            return [(ident, other)] if values.get("timeout") is None and type(other) is int else []
    return []
