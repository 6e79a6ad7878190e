"""What a process is made of — Python, Node, Go, native — from its files, without running any of them."""

from __future__ import annotations

import os
import re
import stat
import struct
from functools import lru_cache
from pathlib import PurePosixPath

from diag.collectors.procfs import ProcFolder, gone, parse_maps
from diag.evidence import Mapped

_PYTHON_EXE = re.compile(r"python(\d+\.\d+)?[a-z]*(?:-intel64)?$")
_PYTHON_LIB = re.compile(r"libpython(\d+\.\d+)[a-z]*\.so[.\d]*$")
_NODE_EXE = ("node", "nodejs")
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # System V ABI, Elf64_Ehdr
ELF_SECTION = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr
SECTIONS_READ = 256
NAMES_READ = 1 << 16
RODATA_READ = 1 << 25


def runtime_of(pid: int) -> str:
    """ "python 3.11.7", "python 3.11" where the patch level is not found, "node", "go", "native", or "" where this
    user may not look. Raises NoSuchInstance.
    """
    with ProcFolder(pid) as folder:
        try:
            executable = folder.link("exe")
        except PermissionError:
            return ""
        except (FileNotFoundError, ProcessLookupError):
            if not _alive(folder):
                raise gone(pid) from None
            return ""  # a thread of the kernel, or a process that is ending
        return _runtime(folder, PurePosixPath(executable.removesuffix(" (deleted)")).name)


def _alive(folder: ProcFolder) -> bool:
    try:
        return bool(folder.read("stat"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _runtime(folder: ProcFolder, name: str) -> str:
    if name in _NODE_EXE:
        return "node"
    series, file = _python(folder, name)
    if file:
        return f"python {_patch_level(folder, file, series) or series}".strip()
    return "go" if _is_go(folder) else "native"


def _python(folder: ProcFolder, name: str) -> tuple[str, str]:
    """("3.11", the file relative to the /proc folder that holds the interpreter), or ("", "")."""
    library = _python_library(folder)
    if library:
        return library
    found = _PYTHON_EXE.match(name)
    return (found[1] or "", "exe") if found else ("", "")


def _python_library(folder: ProcFolder) -> tuple[str, str] | None:
    try:
        maps = parse_maps(folder.text("maps"))
    except OSError:
        return None
    for mapped in maps:
        found = _PYTHON_LIB.search(mapped.path)
        if found:
            return found[1], _map_file(mapped)
    return None


def _map_file(mapped: Mapped) -> str:
    # The kernel's own link to the mapped file: right in any container, and nothing there can redirect it.
    return f"map_files/{mapped.start:x}-{mapped.end:x}"


def _patch_level(folder: ProcFolder, file: str, series: str) -> str | None:
    """ "3.11.7" from the interpreter's own constant, or None where the file cannot be read."""
    opened = _open(folder, file)
    if opened is None:
        return None
    fd, identity = opened
    try:
        return _version_in(_File(fd, identity), series)
    finally:
        os.close(fd)


class _File:
    """An open file that compares by what it is, so that a version is searched for once."""

    def __init__(self, fd: int, identity: tuple[int, ...]) -> None:
        self.fd = fd
        self.identity = identity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _File) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


@lru_cache(maxsize=64)
def _version_in(file: _File, series: str) -> str | None:
    pattern = re.escape(series) if series else r"[23]\.\d+"
    # The linker may have made the version the end of a longer string, such as the installation's prefix.
    version = re.compile(rb"(?<![\d.])(" + pattern.encode() + rb"\.\d{1,2}(?:(?:a|b|rc)\d+)?\+?)\x00")
    section = _sections(file.fd).get(b".rodata")
    if section is None or section[1] > RODATA_READ:
        return None
    found = version.search(os.pread(file.fd, section[1], section[0]))
    return found[1].decode() if found else None


def _open(folder: ProcFolder, name: str) -> tuple[int, tuple[int, ...]] | None:
    try:
        fd = folder.open(name)
    except OSError:
        return None
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode) and facts.st_size:
        return fd, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    os.close(fd)
    return None


def _is_go(folder: ProcFolder) -> bool:
    """Whether the executable has Go's build information: a section that every Go linker since 1.13 writes."""
    opened = _open(folder, "exe")
    if opened is None:
        return False
    try:
        return b".go.buildinfo" in _sections(opened[0])
    finally:
        os.close(opened[0])


def _sections(fd: int) -> dict[bytes, tuple[int, int]]:
    """An ELF file's sections: name to (offset, size). Empty where it is no such file, or cut short."""
    try:
        return _read_sections(fd)
    except (struct.error, OSError):
        return {}


def _read_sections(fd: int) -> dict[bytes, tuple[int, int]]:
    header = ELF_HEADER.unpack(os.pread(fd, ELF_HEADER.size, 0))
    if header[0][:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
        return {}
    table_at, size, count, names_index = header[6], header[11], header[12], header[13]
    if size != ELF_SECTION.size or not names_index < count <= SECTIONS_READ:
        return {}
    sections = list(ELF_SECTION.iter_unpack(os.pread(fd, size * count, table_at)))
    if len(sections) <= names_index:
        return {}
    names = os.pread(fd, min(sections[names_index][5], NAMES_READ), sections[names_index][4])
    return {names[section[0] :].partition(b"\0")[0]: (section[4], section[5]) for section in sections}
