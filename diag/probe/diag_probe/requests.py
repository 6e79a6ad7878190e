"""The request that the running code belongs to: a slot in the black box while it lasts. Loaded with a first server."""

from _contextvars import ContextVar
from _thread import get_native_id
from time import monotonic, time

HEX = "0123456789abcdef"
NO_TRACE, NO_SPAN = "0" * 32, "0" * 16
ID_LIMIT, METHOD_LIMIT, PATH_LIMIT = 128, 16, 130

current = ContextVar("diag_request", default=None)


def find_request():
    """(request id, trace id, span id) of the current request, or None."""
    request = current.get()
    return request.record[:3] if request is not None else None


class Request:
    """One request in flight. `finish` frees its slot, once."""

    __slots__ = ("began", "box", "noted", "outer", "record", "slot", "status")

    def __init__(self, box, request_id, trace_id, span_id, method, path):
        record = (request_id, trace_id, span_id, method, path, time(), get_native_id())
        self.began = monotonic()
        self.box, self.record, self.slot = box, record, box.begin(record)
        self.status = self.noted = None
        self.outer = current.get()
        current.set(self)

    def link(self, trace_id, span_id):
        """Belong to this span from now on."""
        record = self.record
        if record[1] != trace_id or record[2] != span_id:
            self.record = record = (record[0], trace_id, span_id) + record[3:]
            if self.slot is not None and self.box is not None:
                self.box.rewrite(self.slot, record)

    def finish(self):
        """The response is complete, or given up."""
        box, self.box = self.box, None
        if box is not None:
            box.finish(self.slot, self.record, self.began, self.status)
            if current.get() is self:
                current.set(self.outer)


def note(session, exc, request=None):
    """An exception ended a request, and the server lives on. Each exception is told once."""
    request = request or current.get()
    if request is None:
        session.note("request", exc, exc.__traceback__)
    elif request.noted != id(exc):  # the object itself would make a cycle with the frames of its traceback
        request.noted = id(exc)
        session.note("request", exc, exc.__traceback__, None, request.record[:3])


def prepare(session):
    """Let the session's records name the current request."""
    session.find_request = find_request


def trace_parent(value):
    """(trace id, parent span id) of a W3C traceparent header, or (None, None) where it is not valid.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """
    if len(value) > 55 and value[55] == "-" and value[:2] != "00":
        value = value[:55]  # a later version may say more behind what we know
    if len(value) != 55 or value[2] != "-" or value[35] != "-" or value[52] != "-" or value[:2] == "ff":
        return None, None
    digits = value.replace("-", "")
    trace_id, span_id = digits[2:34], digits[34:50]
    if len(digits) != 52 or digits.strip(HEX) or trace_id == NO_TRACE or span_id == NO_SPAN:
        return None, None
    return trace_id, span_id


def clean(value, limit):
    """A header's text or a path as a record takes it: printable, at most `limit` bytes; None where nothing is left."""
    value = value.strip()
    if 0 < len(value) <= limit and value.isascii() and value.isprintable():
        return value
    value = value[:limit]
    if not value.isascii():
        value = value.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
    if not value.isprintable():
        value = "".join([character if character.isprintable() else "?" for character in value])
    return value or None
