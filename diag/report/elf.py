"""Build ids and function names from ELF files; the only importer of pyelftools.

The files belong to whoever owns the observed process, so they are hostile input: limits on every size, and anything
malformed reads as "unknown".
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from diag.evidence import Mapped
from diag.report.foreign import opened

_MAX_TABLE_BYTES = 48 * 1024 * 1024
_MAX_NOTE_BYTES = 64 * 1024
_MAX_HEADERS = 4096
_MAX_MATCHES = 1_000_000
_PARSE_BUDGET = 8 * 1024 * 1024
_CHUNK_BYTES = 24 * 4096
_CACHE_LIMIT = 1024
_PAGE = 4096
_DEBUG_FILES = "/usr/lib/debug/.build-id"
_PF_X = 1
_NT_GNU_BUILD_ID = 3
_FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym, elf(5)


@dataclass(frozen=True, slots=True)
class Symbol:
    """What an address is: `function` where a symbol covers it, and `offset`, the address inside the file's image."""

    path: str
    offset: int
    function: str | None = None
    build_id: str | None = None

    @property
    def name(self) -> str:
        """The function, or `libc.so.6+0x1234`, which addr2line understands."""
        return self.function or f"{self.path.rpartition('/')[2]}+{self.offset:#x}"


@dataclass(frozen=True, slots=True)
class _Segment:
    offset: int
    vaddr: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class _Table:
    offset: int
    size: int
    names_offset: int
    names_size: int


@dataclass(slots=True)
class _Image:
    build_id: str | None
    segments: tuple[_Segment, ...]
    tables: tuple[_Table, ...]
    names: dict[int, str | None] = field(default_factory=dict)


class _OutOfBudget(ValueError):
    """The file asks for more reading than an honest one needs."""


class _Bounded:
    """A file that stops a parser which reads on and on, whatever the counts in the file's headers say."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _PARSE_BUDGET
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """At most the budget's rest; raises _OutOfBudget."""
        self._left -= size + 64
        if size < 0 or self._left < 0:
            raise _OutOfBudget
        return self._file.read(size)


# By (device, inode, mtime in ns, size); None stands for a file that is no readable ELF image.
_images: dict[tuple[int, int, int, int], _Image | None] = {}


def build_id(path: str, root: str = "/") -> str | None:
    """The GNU build id of the file in lower-case hex, or None where it has none or cannot be read."""
    with opened(path, root) as file:
        image = _image(file) if file else None
    return image.build_id if image else None


class Symbolizer:
    """Names for absolute addresses of one process, whose files stand under `root`."""

    def __init__(self, maps: Sequence[Mapped], root: str = "/") -> None:
        self._maps = sorted((m for m in maps if m.path), key=lambda m: m.start)
        self._starts = [m.start for m in self._maps]
        self._root = root

    def resolve(self, address: int) -> Symbol | None:
        """The symbol of one address; None where no file is mapped there."""
        return self.resolve_all([address]).get(address)

    def resolve_all(self, addresses: Iterable[int]) -> dict[int, Symbol]:
        """The symbols of many addresses, reading each file once."""
        by_path: dict[str, list[tuple[int, Mapped]]] = defaultdict(list)
        for address in sorted(set(addresses)):
            mapped = self._mapping(address)
            if mapped is not None:
                by_path[mapped.path].append((address, mapped))
        found: dict[int, Symbol] = {}
        for path, places in by_path.items():
            found.update(self._resolve_in(path, places))
        return found

    def code(self, address: int, size: int = 16) -> bytes:
        """The instruction bytes at an address as the mapped file has them; empty where they are not known."""
        mapped = self._mapping(address)
        if mapped is None or "x" not in mapped.permissions:
            return b""
        with opened(mapped.path, self._root) as file:
            if file is None:
                return b""
            return os.pread(file.fileno(), size, address - mapped.start + mapped.offset)

    def _mapping(self, address: int) -> Mapped | None:
        index = bisect_left(self._starts, address + 1) - 1
        return self._maps[index] if index >= 0 and address < self._maps[index].end else None

    def _resolve_in(self, path: str, places: list[tuple[int, Mapped]]) -> Iterator[tuple[int, Symbol]]:
        with opened(path, self._root) as file:
            image = _image(file) if file else None
            if file is None or image is None:
                yield from ((at, Symbol(path, at - mapped.start + mapped.offset)) for at, mapped in places)
                return
            inside = {at: _virtual(image, mapped, at) for at, mapped in places}
            _name_all(file, image, [virtual for virtual in inside.values() if virtual not in image.names])
        for at, virtual in inside.items():
            yield at, Symbol(path, virtual, image.names.get(virtual), image.build_id)


def _virtual(image: _Image, mapped: Mapped, address: int) -> int:
    """The address as the file's own headers count it: maps give the file offset, PT_LOAD the rest."""
    offset = address - mapped.start + mapped.offset
    wanted = "x" in mapped.permissions
    for slack in (0, _PAGE):
        for segment in image.segments:
            start = segment.offset - segment.offset % _PAGE if slack else segment.offset
            if segment.executable == wanted and start <= offset < segment.offset + segment.size + slack:
                return segment.vaddr + offset - segment.offset
    return offset


def _image(file: BinaryIO) -> _Image | None:
    found = os.fstat(file.fileno())
    key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
    if key not in _images:
        while len(_images) >= _CACHE_LIMIT:
            _images.pop(next(iter(_images)))
        _images[key] = _parse(file)
    return _images[key]


def _parse(file: BinaryIO) -> _Image | None:
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    # pyelftools checks little: a crooked file raises whatever its code stumbles over.
    stumbles: tuple[type[Exception], ...] = (ELFError, ConstructError, struct.error, OSError, ValueError, LookupError)
    stumbles += (ArithmeticError, AssertionError, TypeError, AttributeError, MemoryError, RecursionError)
    try:
        elf = ELFFile(_Bounded(file))  # type: ignore[arg-type]
        if elf.num_segments() > _MAX_HEADERS:
            return None
        segments = [elf.get_segment(index).header for index in range(elf.num_segments())]
        notes = [(int(s.p_offset), int(s.p_filesz)) for s in segments if s.p_type == "PT_NOTE"]
        return _Image(
            build_id=_find_build_id(file, notes, "<" if elf.little_endian else ">"),
            segments=tuple(
                _Segment(int(s.p_offset), int(s.p_vaddr), int(s.p_filesz), bool(s.p_flags & _PF_X))
                for s in segments
                if s.p_type == "PT_LOAD"
            ),
            tables=tuple(_tables(elf)) if elf.elfclass == 64 and elf.little_endian else (),
        )
    except stumbles:
        return None


def _tables(elf: object) -> Iterator[_Table]:
    if elf.num_sections() > _MAX_HEADERS:  # type: ignore[attr-defined]
        return
    for kind in ("SHT_SYMTAB", "SHT_DYNSYM"):
        for section in elf.iter_sections(kind):  # type: ignore[attr-defined]
            names = section.stringtable.header
            size = min(int(section.header.sh_size), _MAX_TABLE_BYTES)
            yield _Table(int(section.header.sh_offset), size, int(names.sh_offset), int(names.sh_size))
            break  # the specification allows one of each kind


def _find_build_id(file: BinaryIO, notes: list[tuple[int, int]], order: str) -> str | None:
    for offset, size in notes:
        raw = _pread(file, min(size, _MAX_NOTE_BYTES), offset)
        at = 0
        while at + 12 <= len(raw):
            name_size, size_of_value, kind = struct.unpack_from(order + "III", raw, at)
            value_at = at + 12 + (name_size + 3) // 4 * 4
            if kind == _NT_GNU_BUILD_ID and raw[at + 12 : at + 16] == b"GNU\0" and 0 < size_of_value <= 64:
                return raw[value_at : value_at + size_of_value].hex()
            at = value_at + (size_of_value + 3) // 4 * 4
    return None


def _pread(file: BinaryIO, size: int, offset: int) -> bytes:
    try:
        return os.pread(file.fileno(), size, offset)
    except (OSError, OverflowError):
        return b""


def _name_all(file: BinaryIO, image: _Image, wanted: list[int]) -> None:
    """Names by the file itself, and for what it does not name by its debug file, where that is installed."""
    _name(file, image, wanted)
    missing = [at for at in wanted if not image.names.get(at)]
    if not missing or not image.build_id:
        return
    # Our own machine's folder, never the process's: gdb's manual, "Debugging Information in Separate Files".
    with opened(f"{_DEBUG_FILES}/{image.build_id[:2]}/{image.build_id[2:]}.debug", "/") as debug:
        symbols = _image(debug) if debug else None
        if debug is not None and symbols is not None and symbols.build_id == image.build_id:
            _name(debug, symbols, missing)
            image.names.update({at: symbols.names[at] for at in missing if symbols.names.get(at)})


def _name(file: BinaryIO, image: _Image, wanted: list[int]) -> None:
    """Fill in the image's names for these addresses; .symtab speaks before .dynsym."""
    for table in image.tables:
        missing = sorted(set(wanted) - {at for at in wanted if image.names.get(at)})
        if missing:
            for at, places in _scan(file, table, missing).items():
                names = sorted((_text(file, table, place) for place in places), key=_plainness)
                image.names[at] = names[0] or None
    for at in wanted:
        image.names.setdefault(at, None)


def _plainness(name: str) -> tuple[bool, int, int, str]:
    """Orders the aliases of one function: the name a reader knows comes first (`write` before `__GI___write`)."""
    return not name, len(name) - len(name.lstrip("_")), len(name), name


def _scan(file: BinaryIO, table: _Table, wanted: list[int]) -> dict[int, list[int]]:
    """Offsets of the names of the functions that cover each wanted address."""
    found: dict[int, list[int]] = defaultdict(list)
    steps_left = _MAX_MATCHES
    for at in range(0, table.size, _CHUNK_BYTES):
        raw = _pread(file, min(_CHUNK_BYTES, table.size - at), table.offset + at)
        for name, kind, _, section, value, size in _SYMBOL.iter_unpack(raw[: len(raw) // _SYMBOL.size * _SYMBOL.size]):
            if kind & 0xF not in _FUNCTIONS or not section:
                continue
            index = bisect_left(wanted, value)
            # Honest functions barely overlap; the count stops a table in which each covers everything.
            while index < len(wanted) and wanted[index] < value + (size or 1) and steps_left:
                steps_left -= 1
                if len(found[wanted[index]]) < 8:
                    found[wanted[index]].append(name)
                index += 1
        if not raw:
            break
    return found


def _text(file: BinaryIO, table: _Table, place: int) -> str:
    if place >= table.names_size:
        return ""
    raw = _pread(file, 4096, table.names_offset + place)
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
