"""A process's folder in /proc, held open, and the parsers of its files.

Formats: proc(5). Names inside are chosen by the process and may hold anything: spaces, brackets, newlines, escapes.
"""

from __future__ import annotations

import os
import re
from types import TracebackType

from diag.errors import NoSuchInstance
from diag.evidence import Mapped

CHUNK_BYTES = 1 << 16
_TASK = re.compile(
    rb"\AName:\t(.*)\n(?:Umask:.*\n)?State:\t(.)(?s:.*)"
    rb"\nvoluntary_ctxt_switches:\t(\d+)\nnonvoluntary_ctxt_switches:\t(\d+)"
)


class ProcFolder:
    """One process's /proc folder.

    It is opened once and everything is read relative to it: should the pid be re-used meanwhile, reading fails
    instead of answering for another process. Raises NoSuchInstance where there is no such process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
            raise gone(pid) from None

    def __enter__(self) -> ProcFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)

    @property
    def descriptor(self) -> int:
        """The open folder, for what is opened in it."""
        return self._fd

    def open(self, name: str) -> int:
        """A descriptor for reading, that never waits for what it opened. Raises OSError."""
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._fd)

    def read(self, name: str) -> bytes:
        """The file's bytes, whole. Raises OSError."""
        fd = self.open(name)
        try:
            chunks = []
            while chunk := os.read(fd, CHUNK_BYTES):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            os.close(fd)

    def small(self, name: str) -> bytes:
        """The bytes of a file that the kernel gives out in one read, for files read many times. Raises OSError."""
        fd = self.open(name)
        try:
            return os.read(fd, CHUNK_BYTES)
        finally:
            os.close(fd)

    def text(self, name: str) -> str:
        """The file as text; bytes that are not UTF-8 become escapes. Raises OSError."""
        return decode(self.read(name))

    def link(self, name: str) -> str:
        """Where the link points, without following it. Raises OSError."""
        return decode(os.readlink(name.encode(), dir_fd=self._fd))

    def names(self, name: str) -> list[str]:
        """The names in a folder. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            return os.listdir(fd)  # noqa: PTH208  a Path cannot list an open folder
        finally:
            os.close(fd)

    def identity(self, name: str) -> tuple[int, int]:
        """(device, inode) of what the name leads to. Raises OSError."""
        found = os.stat(name, dir_fd=self._fd)
        return found.st_dev, found.st_ino


def gone(pid: int) -> NoSuchInstance:
    """The error for a pid that nobody has, or nobody has any more."""
    return NoSuchInstance(f"There is no process {pid} (any more).")


def decode(raw: bytes) -> str:
    """Text that every encoder takes, whatever the bytes were."""
    return raw.decode("utf-8", "backslashreplace")


def parse_stat(raw: bytes) -> tuple[str, list[str]]:
    """The command name, and the fields after it: state is 0, the parent's pid 1, the start time 19.

    The name stands in brackets and may hold brackets itself, so the last one ends it. Raises ValueError.
    """
    before, bracket, after = raw.rpartition(b")")
    name = before.partition(b"(")[2]
    fields = after.decode("ascii").split()
    if not bracket or len(fields) < 20:
        raise ValueError("not a stat line")
    return decode(name), fields


def parse_status(text: str) -> dict[str, str]:
    """Key to value. The kernel escapes the name, so that no name can forge a line."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def kib(status: dict[str, str], key: str) -> int | None:
    """A `123 kB` value of status in bytes; None where the line is absent, as it is for a dead process."""
    words = status.get(key, "").split()
    return int(words[0]) * 1024 if words else None


def parse_task(raw: bytes) -> tuple[str, str, int, int]:
    """(name, state, voluntary, involuntary context switches) of a task, faster than all of its status."""
    found = _TASK.search(raw)
    if not found:
        raise ValueError("not a task's status")
    return unescape_name(decode(found[1])), decode(found[2]), int(found[3]), int(found[4])


def unescape_name(name: str) -> str:
    """A task's name as it was set: status writes `\\n` and `\\\\` for the two characters it escapes."""
    return name.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def parse_limits(text: str) -> dict[str, tuple[int | None, int | None]]:
    """The kernel's name of each limit to (soft, hard); None is unlimited. Columns are fixed: names hold spaces."""
    found = {}
    for line in text.splitlines()[1:]:
        values = line[26:].split()
        if len(values) >= 2:
            found[line[:26].strip()] = (_limit(values[0]), _limit(values[1]))
    return found


def _limit(word: str) -> int | None:
    return None if word == "unlimited" else int(word)


def parse_pairs(text: str, separator: str | None = None) -> dict[str, int]:
    """`name value` lines (or `name: value`) with whole numbers; other lines are left out."""
    pairs = (line.split(separator, 1) for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].strip().isdigit()}


def parse_environment(raw: bytes) -> dict[str, str]:
    """The variables that the process was started with."""
    entries = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {decode(name): decode(value) for name, _, value in entries}


def parse_maps(text: str) -> tuple[Mapped, ...]:
    """The mappings, in order of address."""
    # Split by the newline only: a file's name may hold other characters that splitlines() takes for one.
    return tuple(_mapping(line) for line in text.split("\n") if line)


def _mapping(line: str) -> Mapped:
    fields = line.split(None, 5)
    start, _, end = fields[0].partition("-")
    path = fields[5] if len(fields) > 5 else ""
    return Mapped(int(start, 16), int(end, 16), fields[1], int(fields[2], 16), int(fields[4]), path)


def split_command(raw: bytes) -> tuple[str, ...]:
    """The arguments as they were given, empty ones included; empty for a kernel thread or a zombie."""
    if not raw:
        return ()
    return tuple(decode(word) for word in raw.removesuffix(b"\0").split(b"\0"))
