"""Takes a packet capture as it comes out of a pipe, cuts it between packets, and keeps no more than it may.

Format: pcap-savefile(5).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from io import FileIO
from pathlib import Path

HEADER_BYTES, RECORD_BYTES = 24, 16
_RECORD = struct.Struct("=IIII")  # tcpdump writes in the order of the machine


class PcapSink:
    """A file of whole packets, of at most `max_bytes`: the first ones, or with `ring` the last ones.

    A ring are two halves that take turns, so that it holds between half of what it may and all of it.
    """

    def __init__(self, path: Path, max_bytes: int, *, ring: bool) -> None:
        self._path, self._older = path, path.with_name(f"{path.name}.older")
        self._limit = max_bytes // 2 if ring else max_bytes
        self._ring = ring
        self._rest = b""
        self._header = b""
        self._written = 0
        self._file = self._open(path)
        self.packets = 0
        self.forgotten = 0  # by the ring
        self._in_older = self._in_newer = 0
        self.full = False
        self.trouble = ""  # why nothing more could be written

    def take(self, chunk: bytes) -> None:
        """Write the whole packets that are there now; what comes after the file is full is let go."""
        data = self._rest + chunk if self._rest else chunk
        at = 0
        if not self._header:
            if len(data) < HEADER_BYTES:
                self._rest = data
                return
            self._header, at = data[:HEADER_BYTES], HEADER_BYTES
            self._put(self._header)
        begin, size, unpack = at, len(data), _RECORD.unpack_from
        while at + RECORD_BYTES <= size and not self.full:
            end = at + RECORD_BYTES + unpack(data, at)[2]
            if end > size:
                break
            if self._written + end - begin > self._limit:
                self._put(data[begin:at])
                begin = at
                self._turn()
            self._in_newer += not self.full
            at = end if not self.full else at
        self._put(data[begin:at])
        self._rest = b"" if self.full else data[at:]

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._written

    def close(self) -> None:
        """Finish the file: the older half of a ring goes before the newer one."""
        self._file.close()
        self.packets = self._in_older + self._in_newer
        if not self._older.exists():
            return
        with self._older.open("ab") as older, self._path.open("rb") as newer:
            newer.seek(HEADER_BYTES)
            while block := newer.read(1 << 20):
                older.write(block)
        self._older.replace(self._path)

    def _turn(self) -> None:
        """Begin the other half, or be full."""
        if not self._ring:
            self.full = True
            return
        self._file.close()
        self.forgotten += self._in_older
        self._in_older, self._in_newer = self._in_newer, 0
        self._path.replace(self._older)
        self._file, self._written = self._open(self._path), 0
        self._put(self._header)

    def _put(self, data: bytes) -> None:
        if not data or self.trouble:
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
            self._written += len(data)
        except OSError as error:
            self.trouble = os.strerror(error.errno or 0)
            self.full = True
            with suppress(OSError):
                self._file.truncate(self._written)  # whole packets only

    @staticmethod
    def _open(path: Path) -> FileIO:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return FileIO(descriptor, "wb")
