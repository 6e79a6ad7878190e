"""MOJO, austin's binary format, to a profile. Version 3, which austin 3.7 writes.

Source: https://github.com/P403n1x87/austin/wiki/The-MOJO-file-format
"""

from __future__ import annotations

from typing import TypeVar

from diag.errors import BadProfile
from diag.profiles import austin
from diag.profiles.builder import Builder
from diag.profiles.limits import reading, unpacked
from diag.profiles.model import COLLECTING, IDLE, Frame, Profile

_T = TypeVar("_T")

MAGIC = b"MOJ"
_VERSION = 3
_METADATA, _STACK, _FRAME, _FRAME_INVALID, _FRAME_REF, _FRAME_KERNEL = range(1, 7)
_GC, _IDLE, _TIME, _MEMORY, _STRING, _STRING_REF = range(7, 13)
_MAX_NUMBER_BYTES = 10


def read(content: bytes) -> Profile:
    """The profile. A file that is cut off in the middle of a sample gives all samples before. Raises BadProfile."""
    with reading("MOJO file"):
        return _Reader(unpacked(content)).profile()


class _CutOff(Exception):
    """The file ends inside an event: austin was killed, or still writes."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = len(MAGIC)
        self._metadata: dict[str, str] = {}
        self._strings: dict[tuple[int, int], str] = {}
        self._frames: dict[tuple[int, int], int] = {}
        self._builder: Builder | None = None
        self._rounds: austin.Rounds | None = None
        self._start(0, 0)

    def profile(self) -> Profile:
        """The profile, all of it read."""
        if not self._data.startswith(MAGIC):
            raise BadProfile("This is no MOJO file: it does not start with MOJ.")
        try:
            self._check_version()
            while self._at < len(self._data):
                self._event()
            self._finish()
        except _CutOff:
            if self._builder is None:
                raise BadProfile("This MOJO file is cut off before its first sample.") from None
        builder = self._ready()  # also of a file without a sample: nothing ran
        assert self._rounds is not None
        return builder.build(**austin.header(self._metadata, self._rounds.invalid))

    def _check_version(self) -> None:
        version = self._number()
        if version != _VERSION:
            raise BadProfile(f"This MOJO file has version {version}; diag reads version {_VERSION} (austin 3.7).")

    def _event(self) -> None:
        event = self._data[self._at]
        self._at += 1
        if event == _METADATA:
            key, value = self._text(), self._text()
            self._metadata[key] = value
        elif event == _STACK:
            pid, _, thread_id = self._number(), self._number(), int(self._text(), 16)
            self._finish()
            self._start(pid, thread_id)
        elif event == _FRAME:
            self._define()
        elif event == _FRAME_INVALID:
            self._valid = False
        elif event == _FRAME_REF:
            self._stack.append(self._known(self._frames, self._number()))
        elif event == _FRAME_KERNEL:
            self._stack.append(self._ready().frame(Frame(self._text(), "[kernel]")))
        elif event == _GC:
            self._state = str(COLLECTING.value)
        elif event == _IDLE:
            self._state = str(IDLE.value)
        elif event in (_TIME, _MEMORY):
            self._metrics["time" if event == _TIME else "memory"] = self._number()
        elif event == _STRING:
            key_of_string = self._thread[0], self._number()
            self._strings[key_of_string] = self._text()
        elif event == _STRING_REF:
            name = self._known(self._strings, self._number())
            self._stack.append(self._ready().frame(Frame(name)))
        else:
            raise BadProfile(f"The event at byte {self._at - 1} has the unknown number {event}.")

    def _start(self, pid: int, thread_id: int) -> None:
        self._thread = pid, thread_id
        self._stack: list[int] = []
        self._metrics: dict[str, int] = {}
        self._state, self._valid = "", True

    def _finish(self) -> None:
        """The sample that has been read so far is whole. Without a metric it was cut off."""
        if not self._metrics:
            return
        self._ready()
        assert self._rounds is not None
        frames = tuple(reversed(self._stack)) if self._valid else None
        self._rounds.add(self._thread, frames, self._metrics, self._state)

    def _ready(self) -> Builder:
        """The builder, which waits for the metadata that say what is measured."""
        if self._builder is None:
            self._builder = austin.builder_for(self._metadata["mode"])
            self._rounds = austin.Rounds(self._builder)
        return self._builder

    def _define(self) -> None:
        key, file, scope = self._number(), self._number(), self._number()
        line, _, column, _ = (self._number() for _ in range(4))
        frame = Frame(self._known(self._strings, scope), self._known(self._strings, file), line, column)
        self._frames[self._thread[0], key] = self._ready().frame(frame)

    def _known(self, table: dict[tuple[int, int], _T], key: int) -> _T:
        found = table.get((self._thread[0], key))
        if found is None:
            raise BadProfile(f"At byte {self._at} something is named that was not sent before: {key}.")
        return found

    def _number(self) -> int:
        """A varint of MOJO's own: six bits and a sign in the first byte, seven bits in each that follows."""
        data, at = self._data, self._at
        if at >= len(data):
            raise _CutOff
        byte = data[at]
        value, shift, negative = byte & 0x3F, 6, byte & 0x40
        while byte & 0x80:
            at += 1
            if at >= len(data):
                raise _CutOff
            if at - self._at >= _MAX_NUMBER_BYTES:
                raise BadProfile(f"The number at byte {self._at} is too long.")
            byte = data[at]
            value |= (byte & 0x7F) << shift
            shift += 7
        self._at = at + 1
        return -value if negative else value

    def _text(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise _CutOff
        found = self._data[self._at : end].decode("utf-8", "replace")
        self._at = end + 1
        return found
