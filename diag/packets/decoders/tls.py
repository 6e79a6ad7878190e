"""TLS handshakes (RFC 8446, 5246): who was asked for, what was agreed, how long it took, and alerts."""

from __future__ import annotations

from diag.packets.exchange import ENDLESS, Asked, Lost, Message, Messages, Talk

CHANGE, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
# fmt: off
ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 40: "handshake_failure", 42: "bad_certificate",
    43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
    70: "protocol_version", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
    90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
    116: "certificate_required", 120: "no_application_protocol",
}
# fmt: on
_LONGEST = (1 << 14) + 2048
_SNI, _ALPN, _SUPPORTED = 0, 16, 43


class Tls(Messages):
    """One handshake a connection; what is said afterwards is not looked at."""

    protocol = "tls"

    def __init__(self, talk: Talk) -> None:
        super().__init__(talk)
        self._version = 0
        self._changed = [False, False]
        self._done = False

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A record's header."""
        return len(data) >= 5 and CHANGE <= data[0] <= APPLICATION and data[1] == 3

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One record, or all that is left when the handshake is over."""
        if self._done:
            return Message(ENDLESS)
        if len(data) - at < 6:
            if cut:
                raise Lost
            return None
        kind, length = data[at], int.from_bytes(data[at + 3 : at + 5], "big")
        if not CHANGE <= kind <= APPLICATION or data[at + 1] != 3 or length > _LONGEST:
            raise Lost
        body = data[at + 5 : at + 5 + length]
        hello = kind == HANDSHAKE and body[0] in (1, 2) and not self._changed[from_client]
        if (hello or kind == ALERT) and len(body) < length and not cut:
            return None
        return Message(5 + length, data[at : at + 5] + self._record(from_client, kind, body, time, hello))

    def _record(self, from_client: bool, kind: int, body: bytes, time: float, hello: bool) -> bytes:
        if hello:
            (self._client_hello if body[0] == 1 else self._server_hello)(body, time)
            return body
        if kind == ALERT and len(body) == 2 and body[1] and self.waiting:
            who = "client" if from_client else "server"
            self._finish(None, f"{ALERTS.get(body[1], f'alert {body[1]}')} from the {who}", time)
            return body
        if kind == CHANGE:
            self._changed[from_client] = True
        old = self._version and self._version < 0x0304 and all(self._changed)
        if self.waiting and self._version and (old or (kind == APPLICATION and from_client)):
            self._finish(time, VERSIONS.get(self._version, hex(self._version)), time)
        return b""

    def _client_hello(self, body: bytes, time: float) -> None:
        if self.waiting:
            return  # asked to say it again
        extensions = _extensions(body, 1)
        name = _sni(extensions.get(_SNI, b""))
        offered = _names(extensions.get(_ALPN, b""))
        details = (("alpn", ", ".join(offered)[:200]),) if offered else ()
        self.ask(Asked(time, f"handshake {name}".strip(), details=details))

    def _server_hello(self, body: bytes, time: float) -> None:
        extensions = _extensions(body, 2)
        chosen = extensions.get(_SUPPORTED, b"")
        self._version = int.from_bytes(chosen if len(chosen) == 2 else body[4:6], "big")
        agreed = _names(extensions.get(_ALPN, b""))
        if agreed and self.waiting:
            self.waiting[0].details = (("alpn", agreed[0][:50]),)

    def _finish(self, answered: float | None, status: str, time: float) -> None:
        self._done = True
        self.answer(self.waiting.popleft(), time, status, failed=answered is None)


def _extensions(body: bytes, kind: int) -> dict[int, bytes]:
    """Of a hello: behind version and random, the session, the ciphers (one in an answer) and the compression."""
    at = 4 + 2 + 32
    at += 1 + _size(body, at, 1)
    if kind == 1:
        at += 2 + _size(body, at, 2)
        at += 1 + _size(body, at, 1)
    else:
        at += 3
    stop, found = min(len(body), at + 2 + _size(body, at, 2)), {}
    at += 2
    while at + 4 <= stop:
        size = _size(body, at + 2, 2)
        found[_size(body, at, 2)] = body[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def _size(body: bytes, at: int, width: int) -> int:
    return int.from_bytes(body[at : at + width], "big")


def _sni(extension: bytes) -> str:
    return extension[5 : 5 + _size(extension, 3, 2)][:255].decode("latin-1") if len(extension) > 5 else ""


def _names(extension: bytes) -> list[str]:
    at = 2
    found: list[str] = []
    while at < len(extension) and len(found) < 20:
        found.append(extension[at + 1 : at + 1 + extension[at]].decode("latin-1"))
        at += 1 + extension[at]
    return found
