"""The ELF of a core file: its segments, its notes, and the memory in it, with limits whatever its headers say.

Source: elf(5), fs/binfmt_elf.c of Linux. Read by hand, because pyelftools reads a note's payload as large as the note
says that it is, and a core may be cut off, of another machine, or made to hurt.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diag.errors import CannotAttach, NotACore
from diag.model import Missing

NOTES_READ = 64 * 1024 * 1024  # of a process with 10,000 threads, 30 MB
SEGMENTS_READ = 1 << 17
LOAD, NOTE = 1, 4
X86_64 = "x86_64"
_MACHINES = {3: "i386", 8: "mips", 21: "ppc64", 22: "s390", 40: "arm", 62: X86_64, 183: "aarch64", 243: "riscv64"}
_CORE, _XNUM = 4, 0xFFFF  # ET_CORE, PN_XNUM
_SEGMENT = 56  # Elf64_Phdr
_GNU_BUILD_ID = 3
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header; `in_file` of its `size` bytes are in the file."""

    kind: int
    flags: int
    offset: int
    start: int
    in_file: int
    size: int


class CoreElf:
    """An open core file. `order` is its byte order as struct has it, `missing` what was not read of it.

    Raises NotACore.
    """

    def __init__(self, path: Path, file: int) -> None:
        self._file = file
        self._size = os.fstat(file).st_size
        header = os.pread(file, 64, 0)
        self.order = _checked(path, header, self._size)
        self.missing: list[Missing] = []
        (machine,) = struct.unpack_from(self.order + "H", header, 18)
        self.machine = _MACHINES.get(machine, f"machine {machine}")
        self.segments = self._read_segments(header)
        self._in_file = sorted((s for s in self.segments if s.kind == LOAD and s.in_file), key=lambda s: s.start)
        self._starts = [segment.start for segment in self._in_file]
        end = max((segment.offset + segment.in_file for segment in self.segments), default=0)
        if not self.segments:
            self.miss("core", "the core has no segments: it was cut off after its header")
        elif end > self._size:
            self.miss("core", f"the core was cut off: it has {self._size} bytes of {end}; stacks may be missing")

    def miss(self, section: str, reason: str) -> None:
        """Note what was not read."""
        self.missing.append(Missing(section, reason))

    def memory(self, address: int, size: int) -> bytes:
        """At most so many bytes from there; fewer where the file has no more of them."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return b""
        segment = self._in_file[index]
        inside = address - segment.start
        left = min(segment.in_file - inside, size)
        return self._pread(left, segment.offset + inside) if left > 0 else b""

    def notes(self) -> Iterator[tuple[int, bytes]]:
        """(type, value) of the kernel's notes on the process."""
        for segment in self.segments:
            if segment.kind == NOTE:
                if segment.in_file > NOTES_READ:
                    self.miss("threads", f"the first {NOTES_READ >> 20} MiB of the core's notes were read")
                raw = self._pread(min(segment.in_file, NOTES_READ), segment.offset)
                yield from ((kind, value) for owner, kind, value in _notes(raw, self.order) if owner == b"CORE")

    def build_id(self, base: int) -> str | None:
        """The GNU build id of the file that is mapped from there, where its first page is in the core."""
        header = self.memory(base, 64)
        if header[:5] != b"\x7fELF\2" or len(header) < 64:
            return None
        (table,) = struct.unpack_from(self.order + "Q", header, 32)
        (count,) = struct.unpack_from(self.order + "H", header, 56)
        for part in self._headers(self.memory(base + table, min(count, 64) * _SEGMENT)):
            if part.kind == NOTE:
                for owner, kind, value in _notes(self.memory(base + part.offset, min(part.size, _BLOCK)), self.order):
                    if (owner, kind) == (b"GNU", _GNU_BUILD_ID):
                        return value.hex()
        return None

    def _read_segments(self, header: bytes) -> list[Segment]:
        table, sections = struct.unpack_from(self.order + "QQ", header, 32)
        (count,) = struct.unpack_from(self.order + "H", header, 56)
        if count == _XNUM:  # the true number stands in the first section header's sh_info
            raw = self._pread(64, sections)
            count = struct.unpack_from(self.order + "I", raw, 44)[0] if len(raw) == 64 else 0
        if count > SEGMENTS_READ:
            self.miss("sharedObjects", f"{SEGMENTS_READ} of {count} segments of the core were read")
            count = SEGMENTS_READ
        return self._headers(self._pread(count * _SEGMENT, table))

    def _headers(self, raw: bytes) -> list[Segment]:
        layout = struct.Struct(self.order + "IIQQQQQQ")
        return [
            Segment(kind, flags, offset, start, in_file, size)
            for kind, flags, offset, start, _, in_file, size, _ in layout.iter_unpack(raw[: len(raw) // 56 * 56])
        ]

    def _pread(self, size: int, offset: int) -> bytes:
        size = min(size, self._size - offset)
        return os.pread(self._file, size, offset) if size > 0 else b""


@contextmanager
def opened(path: Path) -> Iterator[CoreElf]:
    """The core file, open. Raises NotACore, CannotAttach."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise CannotAttach(f"{path} cannot be read by this user.", "Run as the file's owner, or as root.") from None
    except OSError as error:
        raise NotACore(f"{path} cannot be read: {error.strerror}.", "") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise NotACore(f"{path} is no regular file.")
        yield CoreElf(path, file)
    finally:
        os.close(file)


def _checked(path: Path, header: bytes, size: int) -> str:
    if not size:
        raise NotACore(f"{path} is empty.", "Was there room for the core? `ulimit -c` and the disk bound its size.")
    if header[:4] != b"\x7fELF":
        raise NotACore(f"{path} is no core file: it does not start as an ELF file.")
    if header[4:5] != b"\2" or len(header) < 64:
        raise NotACore(f"{path} is no core file of a 64-bit machine, or ends within its header.")
    order = "<" if header[5:6] == b"\1" else ">"
    if struct.unpack_from(order + "H", header, 16)[0] != _CORE:
        raise NotACore(f"{path} is an ELF file, but no core: it is a program, a library or an object.")
    return order


def _notes(raw: bytes, order: str) -> Iterator[tuple[bytes, int, bytes]]:
    """(owner, type, value) of each whole note, System V ABI; what is cut off is left out."""
    at = 0
    while at + 12 <= len(raw):
        name_size, value_size, kind = struct.unpack_from(order + "III", raw, at)
        value_at = at + 12 + (name_size + 3) // 4 * 4
        if value_at + value_size > len(raw):
            return
        yield raw[at + 12 : at + 12 + name_size].rstrip(b"\0"), kind, raw[value_at : value_at + value_size]
        at = value_at + (value_size + 3) // 4 * 4
