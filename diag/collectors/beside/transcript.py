"""Writes what a command wrote as asciicast v2, with the secrets masked before anything reaches the disk.

Format: https://docs.asciinema.org/manual/asciicast/v2/. A secret may arrive in pieces, so a line is written when it is
whole, with the times at which its pieces came. What is typed is not recorded; a terminal shows it where it may be seen.
"""

from __future__ import annotations

import codecs
import json
import re
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from diag.redact import Redactor, unstyled

LIMIT_BYTES = 15 << 20  # what the viewer shows in one piece, and some room for the note
LINE_LIMIT = 1 << 16
OVERLAP = 1 << 12
LEFT_OUT = "[a line of more than 64 KiB with a secret was left out]"
NOTE_OF_LIMIT = "\r\n[the transcript ends here: it has reached its limit]\r\n"
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_ENDS = "-----END "


class _Stream:
    """One stream of output, whole lines at a time."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pieces: list[tuple[float, str]] = []
        self._held = 0
        self._dropping = False  # the rest of a line that was cut within a secret

    def take(self, moment: float, content: bytes, *, final: bool = False) -> list[tuple[float, str]]:
        """What can be written now."""
        text = self._decoder.decode(content, final)
        done: list[tuple[float, str]] = []
        *whole, rest = text.split("\n")
        for line in whole:
            self._hold(moment, f"{line}\n")
            if not self._inside_key():
                done += self._release()
        if rest:
            self._hold(moment, rest)
        if final or self._held > LINE_LIMIT:
            done += self._release(cut=not final)
        return done

    def _hold(self, moment: float, text: str) -> None:
        if self._dropping:
            self._dropping = not text.endswith("\n")
            return
        self._pieces.append((moment, text))
        self._held += len(text)

    def _text(self) -> str:
        return "".join(text for _, text in self._pieces)

    def _inside_key(self) -> bool:
        text = self._text()
        begins = _KEY_BEGINS.search(text)
        return begins is not None and _KEY_ENDS not in text[begins.end() :]

    def _release(self, *, cut: bool = False) -> list[tuple[float, str]]:
        pieces, text = self._pieces, self._text()
        self._pieces, self._held = [], 0
        if not pieces:
            return []
        shown = unstyled(text)
        masked = self._redactor.text(shown)
        if masked != shown or self._redactor.text(text) != text:
            self._dropping = cut
            # Where a secret stands among colours it cannot be cut out of them: such a line is kept without any.
            return [(pieces[-1][0], f"{LEFT_OUT}\r\n" if cut else masked)]
        return self._but_the_end(pieces) if cut else pieces

    def _but_the_end(self, pieces: list[tuple[float, str]]) -> list[tuple[float, str]]:
        """The pieces; their end is held back, because a secret may have begun in it."""
        kept: list[tuple[float, str]] = []
        room = OVERLAP
        while pieces and room:
            moment, text = pieces.pop()
            if len(text) > room:
                pieces.append((moment, text[:-room]))
            kept.insert(0, (moment, text[-room:]))
            room -= len(kept[0][1])
        for moment, text in kept:
            self._hold(moment, text)
        return pieces


class Transcript:
    """An asciicast file that is being written. `full` once its limit was reached."""

    def __init__(
        self,
        path: Path,
        redactor: Redactor,
        *,
        size: tuple[int, int],
        began: datetime,
        command: Sequence[str],
        term: str,
    ) -> None:
        self.full = False
        self._redactor = redactor
        self._written = 0
        self._streams = {name: _Stream(redactor) for name in ("stdout", "stderr")}
        self._file = path.open("xb", buffering=0)
        path.chmod(0o600)
        header = {
            "version": 2,
            "width": size[0],
            "height": size[1],
            "timestamp": int(began.timestamp()),
            "command": shlex.join(redactor.argv(command)),
            "env": {"TERM": term} if term else {},
        }
        self._write(header)

    def output(self, moment: float, stream: str, content: bytes) -> None:
        """Something was written to this stream, so many seconds after the beginning."""
        for one in self._streams[stream].take(moment, content):
            self._event(one[0], "o", one[1])

    def resize(self, moment: float, columns: int, rows: int) -> None:
        """The terminal has another size now."""
        self._event(moment, "r", f"{columns}x{rows}")

    def close(self, moment: float) -> None:
        """Write what is left."""
        for stream in self._streams.values():
            for one in stream.take(moment, b"", final=True):
                self._event(one[0], "o", one[1])
        self._file.close()

    def _event(self, moment: float, kind: str, text: str) -> None:
        if self.full:
            return
        if self._written > LIMIT_BYTES:
            self.full, kind, text = True, "o", NOTE_OF_LIMIT
        self._write([round(moment, 6), kind, text])

    def _write(self, value: object) -> None:
        line = json.dumps(value).encode() + b"\n"
        self._written += len(line)
        self._file.write(line)
