"""Who waits for a file's lock, and which process holds it: proc_locks(5), and `lock:` in proc_pid_fdinfo(5)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from diag.evidence import Wait

_FLOCK = "FLOCK"


@dataclass(frozen=True, slots=True)
class _Line:
    number: str
    waits: bool
    kind: str
    pid: int
    file: str


class FileLocks:
    """The locks on files that a process waits for. The kernel's table is read once, when it is needed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lines: list[_Line] | None = None

    def waited(self, wait: Wait) -> Wait:
        """With who holds it, where the wait is one for a file's lock and one process alone has it."""
        if wait.kind != "file lock":
            return wait
        if self._lines is None:
            self._lines = _read()
        mine = [line for line in self._lines if line.waits and line.pid == self._pid]
        if len(mine) != 1:  # several threads of it wait: which for which is not told
            return wait
        resource = f"file lock {mine[0].file}"
        holders = [line for line in self._lines if line.number == mine[0].number and not line.waits]
        if len(holders) != 1 or holders[0].pid <= 0 or (holders[0].kind == _FLOCK and _shared(holders[0])):
            return replace(wait, resource=resource)
        holder = holders[0].pid
        proof = f"the kernel's table of locks names process {holder} (/proc/locks)"
        return replace(wait, resource=resource, holder=holder, proof=proof)


def _read() -> list[_Line]:
    """`1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF`; a line of one that waits has `->` behind the number."""
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return []
    found = []
    for row in rows:
        waits = row[1] == "->"
        fields = row[1 + waits :]
        found.append(_Line(row[0], waits, fields[0], int(fields[3]), fields[4]))
    return found


def _shared(holder: _Line) -> bool:
    """Whether another process has the lock too: forks share what was locked with flock(2), and each can let it go."""
    inode = int(holder.file.rpartition(":")[2])
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(holder.pid):
            continue
        with suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    same = descriptor.stat().st_ino == inode
                    if same and _FLOCK in (folder / "fdinfo" / descriptor.name).read_text():
                        return True
    return False
