"""Redis commands and replies (RESP 2 and 3): the command's name, and the error's. No keys, no values."""

from __future__ import annotations

import re

from diag.packets.exchange import Asked, Lost, Message, Messages

MOST_ARGUMENTS = 1 << 20
_COUNT = re.compile(rb"\*(\d{1,7})\r\n")
_BULK = re.compile(rb"\$(\d{1,10})\r\n")
_LINE = re.compile(rb"([+\-:$*_,#!=(%~>|])([^\r\n]*+)\r\n")
_WITH_SUBCOMMAND = frozenset("CLIENT CONFIG CLUSTER COMMAND OBJECT MEMORY SCRIPT XGROUP XINFO LATENCY ACL".split())  # noqa: SIM905
_SILENT = frozenset("SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE MONITOR".split())  # noqa: SIM905
_DEEPEST = 16


class Redis(Messages):
    """Pipelines are answered in order."""

    protocol = "redis"

    def starts(self, from_client: bool, data: bytes) -> bool:
        """An array of bulk strings, or a reply to what is waiting."""
        if from_client:
            return bool(_COUNT.match(data))
        return bool(self.waiting) and bool(_LINE.match(data))

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One command, or one reply."""
        return self._command(data, at, time, cut) if from_client else self._reply(data, at, time, cut)

    def _command(self, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        count = _COUNT.match(data, at)
        if not count:
            if cut or len(data) - at > 16 or data[at : at + 1] != b"*":
                raise Lost
            return None
        kept, position = [count[0]], count.end()
        words: list[str] = []
        for number in range(int(count[1])):
            bulk = _BULK.match(data, position)
            if not bulk:
                return self._unfinished(data, position, cut)
            start, size = bulk.end(), int(bulk[1])
            position = start + size + 2
            named = number == 0 or (number == 1 and words[0] in _WITH_SUBCOMMAND)
            if position > len(data) and (named or number < int(count[1]) - 1 or not cut):
                return self._unfinished(data, len(data), cut)
            if named:
                words.append(data[start : start + size][:40].decode("latin-1").upper())
            kept.append(bulk[0] + (data[start:position] if named else b"\0" * (min(position, len(data)) - start)))
        if words and words[0] not in _SILENT:
            self.ask(Asked(time, " ".join(words)))
        return Message(position - at, b"".join(kept))

    def _unfinished(self, data: bytes, position: int, cut: bool) -> Message | None:
        if cut or (position < len(data) and data[position : position + 1] not in (b"$", b"")):
            raise Lost
        return None

    def _reply(self, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        line = _LINE.match(data, at)
        if not line:
            if cut or len(data) - at > 4096:
                raise Lost
            return None
        kind, rest = line[1], line[2]
        if kind == b">":
            return self._whole(data, at, cut)  # pushed, not asked for
        message = self._whole(data, at, cut) if kind not in b"+-:_,#(" else Message(line.end() - at)
        if message is None and len(data) - at < 16_384:
            return None
        if self.waiting:
            failed = kind in b"-!"
            status = rest.split(b" ")[0][:40].decode("latin-1") if kind == b"-" else "error" if failed else "OK"
            self.answer(self.waiting.popleft(), time, status, failed)
        if message is None:
            raise Lost
        word = rest.split(b" ")[0] if kind in b"+-" else rest if kind in b"*$:%~" else b""
        return Message(message.length, kind + word)

    def _whole(self, data: bytes, at: int, cut: bool) -> Message | None:
        end = _end(data, at, _DEEPEST)
        if end is None and cut:
            raise Lost
        return Message(end - at) if end is not None else None


def _end(data: bytes, at: int, depth: int) -> int | None:
    """Where the value ends, behind what is there where it is a long string; None where that is not known yet."""
    line = _LINE.match(data, at)
    if not line or not depth:
        return None
    kind, rest, at = line[1], line[2], line.end()
    if kind in b"$!=":
        size = int(rest) if rest.lstrip(b"-").isdigit() and len(rest) < 12 else -1
        return at if size < 0 else at + size + 2
    if kind in b"*%~>|":
        count = int(rest) if rest.isdigit() and len(rest) < 8 else 0
        for _ in range(count * (2 if kind in b"%|" else 1)):
            if at >= len(data):
                return None
            end = _end(data, at, depth - 1)
            if end is None:
                return None
            at = end
    return at
