"""HTTP/1 requests and responses (RFC 9112). Of the headers, only harmless ones are kept as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.model import Link
from diag.packets.exchange import ENDLESS, Asked, Lost, Message, Messages, Talk

METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT ", b"TRACE ")
HEAD_BYTES = 1 << 14
KEPT_HEADERS = frozenset(
    b"host content-length content-type transfer-encoding connection date server accept accept-encoding x-request-id"
    b" x-correlation-id x-fc-request-id x-amzn-requestid traceparent upgrade expect cache-control vary allow".split()
)
REQUEST_IDS = (b"x-request-id", b"x-correlation-id", b"x-fc-request-id", b"x-amzn-requestid")
_REQUEST = re.compile(rb"([A-Z]{3,20}) (\S++)(?: HTTP/1\.[01])?\s*\Z")
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|\Z)")
_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_ID = re.compile(rb"[\x21-\x7e]{1,200}\Z")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*+(?:;[^\r\n]*+)?\r?\n")
_PARAMETERS = re.compile(rb"[^&=]*+=?([^&]*+)")


@dataclass(frozen=True, slots=True)
class _Answering:
    """An answer whose head is known, and since when."""

    asked: Asked
    status: str
    time: float


class Http1(Messages):
    """Requests in order, answered in order."""

    protocol = "http"

    def __init__(self, talk: Talk) -> None:
        super().__init__(talk)
        self._chunked = [False, False]
        self._trailing = [False, False]
        self._answering: _Answering | None = None

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A request line, or a status line."""
        self._chunked[from_client] = self._trailing[from_client] = False
        return data.startswith(METHODS) if from_client else data.startswith(b"HTTP/1.")

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """A head with its body, or one chunk of a body."""
        if self._chunked[from_client]:
            return self._chunk(from_client, data, at, cut)
        if data[at : at + 2] == b"\r\n":
            return Message(2, b"\r\n")
        if len(data) - at >= 16 and not self._plausible(from_client, data[at : at + 20]):
            raise Lost
        end = data.find(b"\r\n\r\n", at, at + HEAD_BYTES)
        if end < 0 and not cut:
            return None
        lines = data[at : end if end >= 0 else len(data)].split(b"\r\n")
        headers = _headers(lines[1:])
        length = (end + 4 if end >= 0 else len(data)) - at
        body = self._request(lines[0], headers, time) if from_client else self._response(lines[0], headers, time)
        kept = _masked(lines) + (b"\r\n\r\n" if end >= 0 else b"")
        if end < 0:  # the head went on where nothing was captured, so how long the body is nobody can tell
            raise Lost(kept)
        return Message(length + body, kept)

    def finished(self, from_client: bool, time: float) -> None:
        """An answer is complete with the last byte of its body; how long its head took is told beside it."""
        if from_client or self._answering is None or self._chunked[False]:
            return
        self._tell(time)

    def forget(self) -> None:
        """What has its head was answered, although the rest was not captured. The last question may still be."""
        if self._answering:
            self._tell(self._answering.time)
        last = self.waiting.pop() if self.waiting else None
        super().forget()
        if last:
            self.waiting.append(last)

    def end(self, time: float, cause: str) -> None:
        """A body without a length ends with its connection; one with a length is cut off there."""
        if self._answering:
            self._tell(time if cause else self._answering.time)
        super().end(time, cause)

    def _tell(self, time: float) -> None:
        assert self._answering is not None
        asked, status, head_at = self._answering.asked, self._answering.status, self._answering.time
        self._answering = None
        asked.details += (("head after", f"{max(0.0, head_at - asked.started) * 1000:.1f} ms"),)
        self.answer(asked, time, status, failed=status.startswith("5"))

    def _plausible(self, from_client: bool, start: bytes) -> bool:
        return start.startswith(METHODS) if from_client else start.startswith(b"HTTP/1.")

    def _request(self, line: bytes, headers: dict[bytes, bytes], time: float) -> int:
        found = _REQUEST.match(line)
        if not found:
            raise Lost
        what = f"{found[1].decode()} {found[2][:2000].decode('utf-8', 'replace')}"
        host = headers.get(b"host", b"")[:200].decode("latin-1")
        self.ask(Asked(time, what, _link(headers), (("host", host),) if host else ()))
        return self._body(True, headers, otherwise=0)

    def _response(self, line: bytes, headers: dict[bytes, bytes], time: float) -> int:
        found = _RESPONSE.match(line)
        if not found:
            raise Lost
        status = int(found[1])
        if 100 <= status < 200 and status != 101:
            return 0
        asked = self.waiting.popleft() if self.waiting else None
        if asked:
            asked.link = _link(headers) if asked.link == Link() else asked.link
            self._answering = _Answering(asked, str(status), time)
        if status == 101 or (asked and asked.what.startswith("CONNECT ") and status < 300):
            return ENDLESS
        if status in (204, 304) or (asked and asked.what.startswith("HEAD ")):
            return 0
        return self._body(False, headers, otherwise=ENDLESS)

    def _body(self, from_client: bool, headers: dict[bytes, bytes], otherwise: int) -> int:
        if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            self._chunked[from_client] = True
            return 0
        length = headers.get(b"content-length", b"")
        return int(length) if length.isdigit() and len(length) <= 15 else otherwise

    def _chunk(self, from_client: bool, data: bytes, at: int, cut: bool) -> Message | None:
        if self._trailing[from_client]:
            end = data.find(b"\n", at)
            if end < 0:
                return None
            if data[at:end].strip() == b"":
                self._chunked[from_client] = self._trailing[from_client] = False
            return Message(end + 1 - at)
        found = _CHUNK.match(data, at)
        if not found:
            if cut or len(data) - at > 64:
                raise Lost
            return None
        size = int(found[1], 16)
        if size == 0:
            self._trailing[from_client] = True
            return Message(len(found[0]), found[0])
        return Message(len(found[0]) + size + 2, found[1])


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in lines[:200]:
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _link(headers: dict[bytes, bytes]) -> Link:
    ids = (headers[name] for name in REQUEST_IDS if name in headers)
    request_id = next((one.decode() for one in ids if _ID.match(one)), None)
    parent = _PARENT.match(headers.get(b"traceparent", b""))
    return Link(request_id, parent[1].decode(), parent[2].decode()) if parent else Link(request_id)


def _masked(lines: list[bytes]) -> bytes:
    """The head, as long as it was: values of headers and of parameters that could be secret are stars."""
    first = lines[0]
    path, question, query = first.partition(b"?")
    if question:
        values, space, version = query.partition(b" ")
        path += question + _PARAMETERS.sub(_star, values) + space + version
    return b"\r\n".join([path, *(_line(line) for line in lines[1:])])


def _star(match: re.Match[bytes]) -> bytes:
    return match[0][: len(match[0]) - len(match[1])] + b"*" * len(match[1])


def _line(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    if not colon or name.strip().lower() in KEPT_HEADERS:
        return line if colon else b"*" * len(line)
    return name + colon + b"*" * len(value)
