"""Go's last words: all goroutines are asked for, and those that Go alone would not have printed are kept from stderr.

GOTRACEBACK is `single` where nobody sets it: of a panic Go prints the goroutine that panicked. With `all` the others
follow it (runtime/panic.go, dopanic_m), and the relay of stderr takes those out again.
"""

from __future__ import annotations

import os
import re
import shutil

VARIABLE = "GOTRACEBACK"
_HEAD_READ = 32 * 1024  # as cmd/internal/buildid reads: the note stands at the file's beginning
_NOTE = b"\x04\0\0\0Go\0\0"  # the note's type, and its owner
_STARTS = (b"panic: ", b"fatal error: ", b"runtime: ", b"SIGQUIT: ", b"SIGABRT: ")
_LONGEST_START = max(map(len, _STARTS))
_HEADER = re.compile(rb"goroutine \d+ [^\n]*:\n\Z")
_OF_A_TRACE = re.compile(
    rb"(?:\n|\t[^\n]*\n|goroutine \d+ [^\n]*:\n|created by [^\n]*\n|[^\s()]+\S*\([^\n]*\)\n|\.\.\.[^\n]*\n)\Z"
)
_HEADER_START = b"goroutine "


def is_go_file(path: str | None) -> bool:
    """Whether this is a program that Go's linker made: it has a note of Go's."""
    if path is None or not os.path.isfile(path):  # noqa: PTH113  pathlib is not loaded before the command runs
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(_HEAD_READ)
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and _NOTE in head


def is_go(command: list[str]) -> bool:
    """Whether the command is a Go program."""
    return is_go_file(shutil.which(command[0], path=os.environ.get("PATH", os.defpath)))


class GoTrace:
    """Follows what a Go program writes to stderr, in pieces of any size.

    `shown` gives what is to be passed on. With `hush` these are not the goroutines that follow the first of a panic;
    a line is held back only where it may be one of those. `started` is set where a trace began: to how many bytes
    before the end of what came last.
    """

    def __init__(self, *, hush: bool) -> None:
        self._hush = hush
        self._line = b""  # as far as the current line has come
        self._held = b""
        self._stage = "outside"  # then "panic", "first", "behind", "others"
        self.started: int | None = None

    def shown(self, content: bytes) -> bytes:
        """What of the content is to be passed on now."""
        passed = b""
        self.started = None
        left = len(content)
        for piece in _lines(content):
            left -= len(piece)
            self._line += piece
            if self._line.startswith(_STARTS) and len(self._line) - len(piece) < _LONGEST_START:
                self.started = left + len(self._line)
            passed += self._take(piece)
            if piece.endswith(b"\n"):
                self._line = b""
        return passed

    def rest(self) -> bytes:
        """What was held back, at the end of stderr."""
        held, self._held = self._held, b""
        return held

    def _take(self, piece: bytes) -> bytes:
        if not self._hush:
            return piece
        if self._stage in ("behind", "others"):
            return self._hold_back(piece)
        whole = self._line.endswith(b"\n")
        if self._line.startswith(b"panic: "):
            self._stage = "panic"
        elif whole and self._stage == "panic" and _HEADER.match(self._line):
            self._stage = "first"
        elif whole and self._stage == "first" and self._line == b"\n":
            self._stage = "behind"
            self._held = piece
            return b""
        return piece

    def _hold_back(self, piece: bytes) -> bytes:
        self._held += piece
        if not self._line.endswith(b"\n"):
            maybe = self._line.startswith(_HEADER_START) or _HEADER_START.startswith(self._line)
            return b"" if self._stage == "others" or maybe else self._give_up()
        if self._stage == "behind":
            if not _HEADER.match(self._line):
                return self._give_up()
            self._stage, self._held = "others", b""
        elif _OF_A_TRACE.match(self._line):
            self._held = b""
        elif self._held:  # somebody else's line between those of the trace
            return self.rest()
        return b""

    def _give_up(self) -> bytes:
        self._stage = "panic" if self._line.startswith(b"panic: ") else "outside"
        return self.rest()


def _lines(content: bytes) -> list[bytes]:
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
