"""MySQL and MariaDB: commands, and whether they went well. Format: dev.mysql.com, Client/Server Protocol."""

from __future__ import annotations

from diag.packets import sql
from diag.packets.decoders.tls import Tls
from diag.packets.exchange import Asked, Lost, Message, Messages, Talk

QUERY, PREPARE, EXECUTE = 0x03, 0x16, 0x17
COMMANDS = {0x02: "USE", 0x03: "", 0x0E: "PING", 0x11: "CHANGE USER", 0x16: "PREPARE ", 0x17: "EXECUTE ", 0x1F: "RESET"}
_SILENT = (0x01, 0x18, 0x19)  # quit, send long data, close statement
_GREETING, _SSL_FLAG, _SSL_REQUEST_BYTES = 0x0A, 0x0800, 32
_MOST_STATEMENTS = 1000


class MySql(Messages):
    """One command at a time; what follows the first packet of an answer are rows."""

    protocol = "mysql"

    def __init__(self, talk: Talk) -> None:
        super().__init__(talk)
        self._statements: dict[int, str] = {}
        self._preparing = ""

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A command that fits its segment, or the first packet of an answer."""
        if len(data) < 5:
            return False
        length = int.from_bytes(data[:3], "little")
        if from_client:
            return data[3] == 0 and (data[4] in COMMANDS or data[4] in _SILENT) and length >= len(data) - 4
        return data[3] == 1 and bool(self.waiting)

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One packet."""
        if len(data) - at < 5:
            if cut:
                raise Lost
            return None
        length, number = int.from_bytes(data[at : at + 3], "little"), data[at + 3]
        body = data[at + 4 : at + 4 + length]
        wanted = length if from_client else min(length, 16)
        if len(body) < wanted and not cut:
            return None
        if not length:
            return Message(4, data[at : at + 4])
        kept = self._command(number, body, time) if from_client else self._result(number, body, time)
        return Message(4 + length, data[at : at + 4] + kept)

    def _command(self, number: int, body: bytes, time: float) -> bytes:
        if number == 1 and len(body) == _SSL_REQUEST_BYTES and int.from_bytes(body[:4], "little") & _SSL_FLAG:
            self.successor = Tls(self.talk)
            return body
        command = body[0]
        if number or command in _SILENT or command not in COMMANDS:
            return body[:1] if not number else b""
        what, kept, link = COMMANDS[command], body[:1], sql.link_of(body)
        if command in (QUERY, PREPARE):
            statement = _statement(body)
            what += sql.shape(statement, mysql=True)
            kept = body[: len(body) - len(statement)] + sql.mask(statement, mysql=True)
            # MySQL 8 may put attributes, which hold values, before the statement.
            kept = kept if len(body) - len(statement) <= 3 else body[:1]
        if command == EXECUTE:
            what += self._statements.get(int.from_bytes(body[1:5], "little"), "a statement prepared before")
        self._preparing = what.removeprefix("PREPARE ") if command == PREPARE else ""
        self.waiting.clear()
        self.ask(Asked(time, what.strip() or "QUERY", link))
        return kept

    def _result(self, number: int, body: bytes, time: float) -> bytes:
        if number != 1 or not self.waiting:
            return b""
        asked = self.waiting.popleft()
        if body[0] == 0xFF and len(body) >= 3:
            self.answer(asked, time, f"ERR {int.from_bytes(body[1:3], 'little')}", failed=True)
            return body[:9]
        if self._preparing and body[0] == 0 and len(body) >= 5 and len(self._statements) < _MOST_STATEMENTS:
            self._statements[int.from_bytes(body[1:5], "little")] = self._preparing
        self.answer(asked, time, "OK")
        return body[:1]


def _statement(body: bytes) -> bytes:
    """The text; with query attributes and none of them given, a 0 and a 1 stand before it."""
    return body[3:] if body[1:3] == b"\x00\x01" else body[1:]


def is_greeting(data: bytes) -> bool:
    """Whether this is what a server says first: protocol 10, and a version that ends with NUL."""
    length = int.from_bytes(data[:3], "little")
    whole = len(data) > 20 and data[3] == 0 and data[4] == _GREETING and length >= len(data) - 4
    return whole and 0 < data.find(b"\0", 5) < 80 and data[5:6].isdigit()
