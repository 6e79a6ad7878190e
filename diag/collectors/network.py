"""The network namespace of a process, and which sockets in it are the process's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from diag.collectors.procfs import ProcFolder, gone

_SOCKET = re.compile(r"socket:\[(\d+)\]")
MOST_PORTS = 200


def namespace_of(pid: int) -> tuple[int, int]:
    """What tells the namespace from others. Raises OSError where it may not be seen, NoSuchInstance."""
    with ProcFolder(pid) as folder:
        descriptor = _open(folder)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    return found.st_dev, found.st_ino


def is_ours(pid: int) -> bool:
    """Whether the process has the same network as we. Raises OSError, NoSuchInstance."""
    return namespace_of(pid) == namespace_of(os.getpid())


@contextmanager
def held(pid: int) -> Iterator[str]:
    """A path to the namespace that stays the same one, should the pid be used again. Raises OSError, NoSuchInstance."""
    with ProcFolder(pid) as folder:
        descriptor = _open(folder)
    try:
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _open(folder: ProcFolder) -> int:
    try:
        return folder.open("ns/net")
    except (FileNotFoundError, ProcessLookupError):  # whoever has ended has no namespaces, before it is waited for too
        raise gone(folder.pid) from None


def ports_of(pid: int) -> tuple[int, ...]:
    """The local ports of the TCP and UDP sockets that the process holds now. Raises OSError, NoSuchInstance."""
    with ProcFolder(pid) as folder:
        links = (_link(folder, name) for name in folder.names("fd"))
        inodes = {found[1] for found in map(_SOCKET.fullmatch, links) if found}
        ports: set[int] = set()
        for table in ("net/tcp", "net/tcp6", "net/udp", "net/udp6"):
            for line in _lines(folder, table):
                fields = line.split()
                if len(fields) > 9 and fields[9] in inodes:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return tuple(sorted(ports - {0})[:MOST_PORTS])


def _link(folder: ProcFolder, name: str) -> str:
    try:
        return folder.link(f"fd/{name}")
    except FileNotFoundError:
        return ""  # closed since the listing


def _lines(folder: ProcFolder, table: str) -> list[str]:
    try:
        return folder.text(table).splitlines()[1:]
    except FileNotFoundError:
        return []  # a kernel without IPv6
