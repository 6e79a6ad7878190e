"""PostgreSQL: simple and extended queries (its documentation, chapter Frontend/Backend Protocol)."""

from __future__ import annotations

from diag.model import Link
from diag.packets import sql
from diag.packets.decoders.tls import Tls
from diag.packets.exchange import Asked, Lost, Message, Messages, Talk

SSL_REQUEST, GSS_REQUEST, CANCEL, VERSION_3 = 80877103, 80877104, 80877102, 196608
_FROM_CLIENT, _FROM_SERVER = b"QPBEDSCHXFpdcf", b"RKZTDCEINSt123ZnAsGHWVv"
_MOST_STATEMENTS = 1000
_LONGEST = 1 << 30


class Postgres(Messages):
    """Each statement is answered in order; an error ends what was asked up to the next Sync."""

    protocol = "postgresql"

    def __init__(self, talk: Talk) -> None:
        super().__init__(talk)
        self._statements: dict[bytes, tuple[str, Link]] = {}
        self._portals: dict[bytes, bytes] = {}
        self._batch = self._done = 0
        self._secure_asked = False
        self._began = 0.0
        self._first_row: float | None = None

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A known type, and a length that the segment may have."""
        if len(data) < 5 or data[0] not in (_FROM_CLIENT if from_client else _FROM_SERVER):
            return False
        length = int.from_bytes(data[1:5], "big")
        return 4 <= length <= _LONGEST and (not from_client or length + 1 >= len(data) or _chain(data))

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One message; those before the first query have no type."""
        if not from_client and self._secure_asked:
            self._secure_asked = False
            self.successor = Tls(self.talk) if data[at : at + 1] == b"S" else None
            return Message(1, data[at : at + 1])
        if len(data) - at < 8 and data[at : at + 1] == b"\0":
            return None
        if from_client and data[at] == 0:
            return self._opening(data, at)
        if len(data) - at < 5:
            if cut:
                raise Lost
            return None
        kind, length = data[at : at + 1], int.from_bytes(data[at + 1 : at + 5], "big")
        if length < 4 or length > _LONGEST or kind[0] not in (_FROM_CLIENT if from_client else _FROM_SERVER):
            raise Lost
        body = data[at + 5 : at + 1 + length]
        wanted = length - 4 if from_client and kind in b"QPBED" else min(length - 4, 200) if kind == b"E" else 0
        if len(body) < min(wanted, 16_384) and not cut:
            return None
        kept = self._asked(kind, body, time) if from_client else self._said(kind, body, time)
        return Message(1 + length, data[at : at + 5] + kept)

    def _opening(self, data: bytes, at: int) -> Message:
        length, code = int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 8], "big")
        if not 8 <= length <= 10_000 or code not in (SSL_REQUEST, GSS_REQUEST, CANCEL, VERSION_3):
            raise Lost
        self._secure_asked = code in (SSL_REQUEST, GSS_REQUEST)
        return Message(length, data[at : at + 8])

    def _asked(self, kind: bytes, body: bytes, time: float) -> bytes:
        if kind == b"Q":
            statement = body.split(b"\0")[0]
            self._batch += 1
            self.ask(Asked(time, sql.shape(statement), sql.link_of(statement), mark=self._batch))
            return sql.mask(statement)
        if kind == b"P":
            return self._parse(body, time)
        if kind == b"B":
            portal, _, rest = body.partition(b"\0")
            self._began = self._began or time
            if len(self._portals) < _MOST_STATEMENTS:
                self._portals[portal] = rest.partition(b"\0")[0]
        elif kind == b"E":
            named = self._portals.get(body.partition(b"\0")[0], b"")
            what, link = self._statements.get(named, ("a statement prepared before", Link()))
            self.ask(Asked(self._began or time, what, link, mark=self._batch + 1))
            self._began = 0.0
        elif kind == b"S":
            self._batch += 1
            self._began = 0.0
        return b""

    def _parse(self, body: bytes, time: float) -> bytes:
        name, _, rest = body.partition(b"\0")
        statement = rest.partition(b"\0")[0]
        self._began = self._began or time
        if len(self._statements) < _MOST_STATEMENTS or name in self._statements:
            self._statements[name] = (sql.shape(statement), sql.link_of(statement))
        return name + b"\0" + sql.mask(statement)

    def _said(self, kind: bytes, body: bytes, time: float) -> bytes:
        if kind == b"Z":
            self._done = min(self._done + 1, self._batch)  # the first one stands before any question
            if self.waiting and self._first_row is not None:
                self.answer(self.waiting.popleft(), self._first_row, "OK")
            self._first_row = None
            while self.waiting and self.waiting[0].mark <= self._done:
                self.waiting.popleft()  # an error before it in the same batch
            return body[:1]
        if kind in b"DCEIs" and self.waiting and self.waiting[0].mark > self._done:
            if kind == b"D":
                self._first_row = time if self._first_row is None else self._first_row
            else:
                status = f"ERROR {_field(body, b'C')}" if kind == b"E" else "OK"
                self._first_row = None
                self.answer(self.waiting.popleft(), time, status, failed=kind == b"E")
        return _error_kept(body) if kind == b"E" else b""

    def forget(self) -> None:
        """What has its first row was answered, although its end was not captured."""
        if self.waiting and self._first_row is not None:
            self.answer(self.waiting.popleft(), self._first_row, "OK")
        self._first_row = None
        super().forget()


def _chain(data: bytes) -> bool:
    at = 0
    while at + 5 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 5], "big")
        if data[at] not in _FROM_CLIENT or length < 4:
            return False
        at += 1 + length
    return True


def _field(body: bytes, name: bytes) -> str:
    for one in body[:2000].split(b"\0"):
        if one[:1] == name:
            return one[1:21].decode("latin-1")
    return ""


def _error_kept(body: bytes) -> bytes:
    """Severity and code stand; the message and the rest are blanked."""
    kept = [one if one[:1] in (b"S", b"V", b"C") else one[:1] + b"*" * (len(one) - 1) for one in body.split(b"\0")]
    return b"\0".join(kept)
