"""Answers one question of diag: takes it out of the box, has the part that knows answer, and writes to a socket."""

import _socket
from marshal import dumps
from time import monotonic

from . import layout
from .questions import of_the_program

# The part of the probe that answers; its `answer(frame, arguments)` gets the frame that the program stands in, or None,
# and returns plain data. It never runs code of the program's own.
ANSWERS = {
    "heap": "heap",
    "objects": "census",
    "tracemalloc": "tracing",
    "memray": "tracker",
    "waits": "waits",
}


def answer(session, frame):
    """Answer what stands in the box, if anything does. Raises OSError where nobody listens any more."""
    question = session.box.take_question() if session.box is not None else None
    if question is None:
        return
    name, arguments, address = question
    began = monotonic()
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(layout.ANSWER_TIMEOUT_S)
        sock.connect(b"\0" + address)
        sock.sendall(_packed(name, frame, arguments, began))
    finally:
        sock.close()


def _packed(name, frame, arguments, began):
    try:
        part = __import__("diag_probe." + ANSWERS[name], fromlist=["answer"])
        return dumps((True, part.answer(frame, arguments), monotonic() - began), 4)
    except Exception as exc:
        if of_the_program(exc):
            raise
        return dumps((False, "%s: %s" % (type(exc).__name__, exc), monotonic() - began), 4)
