"""Exceptions and stacks as plain data, walked by hand: nothing is imported, opened or formatted when it is late."""

import os
import sys
from _thread import get_native_id
from marshal import dumps

KEPT = 50  # frames kept at each end of a stack
CHAIN = 12  # exceptions kept of a chain or a group
LOCALS = 50
MESSAGE = 4000
NAME = 500
LOCAL = 200

_name_of = type.__dict__["__name__"].__get__
_module_of = type.__dict__["__module__"].__get__
_cause_of = BaseException.__cause__.__get__
_context_of = BaseException.__context__.__get__
_traceback_of = BaseException.__traceback__.__get__
_suppresses = BaseException.__suppress_context__.__get__


def describe(exc, tb, with_locals=False, exc_type=None):
    """The EXC record of an exception and of everything it came from."""
    return _Walk(with_locals).describe(exc, tb, exc_type or type(exc))


def leaving(message, frame):
    """The EXC record of a SystemExit that is about to be raised, with the stack that leads to it."""
    return {
        "type": "SystemExit",
        "module": "builtins",
        "message": message or "",
        "frames": stack_frames(frame),
        "cause": None,
        "context": None,
        "exceptions": [],
        "notes": [],
        "cut": 0,
    }


def is_main_thread():
    """Whether this is the thread that the kernel calls by the process's own number."""
    return get_native_id() == os.getpid()


class _Walk:
    """One walk over a chain: each exception once, CHAIN of them at most."""

    def __init__(self, with_locals):
        self.with_locals = with_locals
        self.seen = []

    def describe(self, exc, tb, exc_type):
        self.seen.append(exc)
        frames, cut = traceback_frames(tb, self.with_locals)
        frames = _of_its_own(_source_of, exc, not frames) + frames
        cause = self._next(_cause_of(exc)) if exc is not None else None
        return {
            "type": text(_name_of(exc_type), NAME),
            "module": text(_module_of(exc_type), NAME),
            "message": message(exc),
            "frames": frames,
            "cause": cause,
            "context": self._next(_context(exc)) if cause is None else None,
            "exceptions": [self._next(member) for member in _of_its_own(_members, exc) if len(self.seen) < CHAIN],
            "notes": [text(note, MESSAGE) or "" for note in _of_its_own(_notes, exc)],
            "cut": cut,
        }

    def _next(self, exc):
        if exc is None or len(self.seen) >= CHAIN or any(exc is other for other in self.seen):
            return None
        return self.describe(exc, _traceback_of(exc), type(exc))


def _context(exc):
    return None if exc is None or _suppresses(exc) else _context_of(exc)


def _of_its_own(find, *args):
    """What the exception's own attributes say; nothing where its own code, which may stand behind them, fails."""
    try:
        return find(*args)
    except BaseException:  # also what would end the program, which without us would not have been asked
        return []


def _members(exc):
    members = getattr(exc, "exceptions", None) if _name_of(type(exc)).endswith("Group") else None
    return [member for member in members if isinstance(member, BaseException)] if type(members) is tuple else []


def _notes(exc):
    notes = getattr(exc, "__notes__", None)
    return notes[:CHAIN] if type(notes) is list else []


def _source_of(exc, is_all):
    """The place a SyntaxError speaks of; it has no frame of its own. What is no file has whoever compiled it."""
    if not issubclass(type(exc), SyntaxError):
        return []
    if not isinstance(exc.filename, str) or not isinstance(exc.lineno, int):
        return []
    if exc.filename[:1] == "<" and not is_all:
        return []
    return [("<module>", text(exc.filename, NAME), int(exc.lineno), None, None)]


def message(exc):
    """str(exc), or what can be said where the exception's own code fails."""
    if exc is None:
        return ""
    try:
        return text(str(exc), MESSAGE)
    except BaseException as failure:  # as Python itself, which prints the exception whatever its __str__ raises
        return "<its __str__ raised %s>" % _name_of(type(failure))


def text(value, limit):
    """An exact str of limited length, which is what marshal takes; None where it is no str."""
    if not isinstance(value, str):
        return None
    return str.__getitem__(value, slice(limit))


def traceback_frames(tb, with_locals=False):
    """(FRAMEs innermost first, how many were left out of the middle)."""
    outer, inner, count = [], [None] * KEPT, 0
    while tb is not None:
        if count < KEPT:
            outer.append(tb)
        else:
            inner[count % KEPT] = tb
        count += 1
        tb = tb.tb_next
    turn = count % KEPT
    kept = outer + [entry for entry in inner[turn:] + inner[:turn] if entry is not None]
    frames = [_frame(entry.tb_frame, entry.tb_lineno, with_locals) for entry in reversed(kept)]
    return frames, count - len(kept)


def stack_frames(frame, most=10000):
    """FRAMEs of a live stack, innermost first, without its middle where it is deep."""
    frames = []
    while frame is not None and len(frames) < most:
        frames.append(frame)
        frame = frame.f_back
    if len(frames) > 2 * KEPT:
        frames = frames[:KEPT] + frames[-KEPT:]
    return [_frame(frame, frame.f_lineno, False) for frame in frames]


def _frame(frame, line, with_locals):
    code = frame.f_code
    module = text(frame.f_globals.get("__name__"), NAME)
    values = _locals(frame) if with_locals else None
    return text(code.co_name, NAME), text(code.co_filename, NAME), line or 0, module, values


def _locals(frame):
    values = frame.f_locals
    if type(values) is not dict and type(values).__name__ != "FrameLocalsProxy":
        return None  # a class body's own mapping: reading it would run the program's code
    named = [(name, value) for name, value in list(values.items()) if type(name) is str and name[:2] != "__"]
    return {text(name, NAME): safe_repr(value) for name, value in named[:LOCALS]}


def safe_repr(value):
    """A value in at most LOCAL characters, without running any code of its class."""
    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value[:LOCAL])[:LOCAL]
    if kind is int and value.bit_length() > 512:
        return "<int of %d bits>" % value.bit_length()
    if value is None or kind is bool or kind is int or kind is float:
        return repr(value)
    if kind in (list, tuple, dict, set, frozenset, bytearray):
        return "<%s of %d>" % (kind.__name__, len(value))
    name, module = _name_of(kind), _module_of(kind)
    return text("<%s.%s>" % (module, name) if type(module) is str else "<%s>" % name, LOCAL)


def other_threads(own_ident):
    """(native id, name, FRAMEs) of every thread but one. Reads threading's table without its lock."""
    threading = sys.modules.get("threading")
    known = dict(getattr(threading, "_active", None) or {})
    found = []
    for ident, frame in sys._current_frames().items():
        if ident != own_ident:
            thread = known.get(ident)
            number, name = getattr(thread, "_native_id", None), getattr(thread, "_name", None)
            found.append((number if type(number) is int else None, text(name, NAME), stack_frames(frame)))
    return found


def pack(record, limit):
    """The record marshalled, made smaller step by step until it fits: a part of it beats nothing."""
    for shrink in (None, _drop_locals, _shorten_threads, _drop_threads, _cut(20, 1000), _cut(6, 300), _drop_chain):
        if shrink is not None:
            shrink(record)
        payload = dumps(record, 4)
        if len(payload) <= limit:
            return payload
    return b""


def _each(exc):
    yield exc
    for part in [exc["cause"], exc["context"]] + exc["exceptions"]:
        if part is not None:
            yield from _each(part)


def _drop_locals(record):
    for exc in _each(record["exception"]):
        exc["frames"] = [frame[:4] + (None,) for frame in exc["frames"]]


def _shorten_threads(record):
    record["threads"] = [(tid, name, frames[:10]) for tid, name, frames in record.get("threads", ())[:100]]


def _drop_threads(record):
    record["threads"] = []


def _cut(kept, length):
    def shrink(record):
        for exc in _each(record["exception"]):
            frames = exc["frames"]
            exc["message"] = exc["message"][:length]
            exc["notes"] = [note[:length] for note in exc["notes"][:kept]]
            if len(frames) > 2 * kept:
                exc["frames"] = frames[:kept] + frames[-kept:]
                exc["cut"] += len(frames) - 2 * kept

    return shrink


def _drop_chain(record):
    exc = record["exception"]
    exc.update(cause=None, context=None, exceptions=[], notes=[])
