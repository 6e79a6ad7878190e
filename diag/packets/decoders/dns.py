"""Questions to name servers (RFC 1035): over UDP, one datagram a message, and over TCP, with a length before each."""

from __future__ import annotations

import struct

from diag.packets.exchange import Asked, Lost, Message, Messages

TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 64: "SVCB"}
TYPES |= {65: "HTTPS", 255: "ANY"}
CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_HEAD = struct.Struct(">HHHHHH")
_QUESTION_BYTES = 400


class Dns(Messages):
    """Matched by their number: a resolver asks several at once. Asking again is the same question."""

    protocol = "dns"

    def datagram(self, from_client: bool, data: bytes, time: float) -> bytes:
        """Take one message; returns its start as it may be kept."""
        if len(data) < _HEAD.size:
            return b""
        number, flags, questions, *_ = _HEAD.unpack_from(data)
        name, end = _name(data, _HEAD.size) if questions else ("", _HEAD.size)
        if not flags & 0x8000:
            self._question(number, name, data, end, time)
        else:
            self._answer(number, name, flags, time)
        return data[: end + 4]

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One message with its length."""
        if len(data) - at < 2:
            return None
        length = int.from_bytes(data[at : at + 2], "big")
        if length < _HEAD.size:
            raise Lost
        if len(data) - at - 2 < length and not cut:
            return None
        return Message(2 + length, data[at : at + 2] + self.datagram(from_client, data[at + 2 : at + 2 + length], time))

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A length that the segment holds to the end."""
        return len(data) > 2 + _HEAD.size and int.from_bytes(data[:2], "big") == len(data) - 2

    def _question(self, number: int, name: str, data: bytes, end: int, time: float) -> None:
        if any(one.mark == number and one.what.endswith(f" {name}") for one in self.waiting):
            return
        kind = int.from_bytes(data[end : end + 2], "big") if end + 2 <= len(data) else 0
        self.ask(Asked(time, f"{TYPES.get(kind, f'TYPE{kind}')} {name}", mark=number))

    def _answer(self, number: int, name: str, flags: int, time: float) -> None:
        for asked in self.waiting:
            if asked.mark == number and (not name or asked.what.endswith(f" {name}")):
                self.waiting.remove(asked)
                code = flags & 0x0F
                status = CODES[code] if code < len(CODES) else f"RCODE{code}"
                self.answer(asked, time, status, failed=code not in (0, 3))
                return


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name, and where it ends. A question is the first name, so that it points nowhere."""
    labels: list[str] = []
    stop = min(len(data), at + _QUESTION_BYTES)
    while at < stop and data[at]:
        length = data[at]
        if length > 63:
            return ".".join(labels) or ".", at
        labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return ".".join(labels) or ".", min(at + 1, len(data))
