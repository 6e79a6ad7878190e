"""What a process's descriptors lead to, in words: a file, a pipe, a socket and whom it speaks with.

Source: proc_pid_fd(5) for the links, proc_pid_net(5) for the tables of sockets.
"""

from __future__ import annotations

from functools import cached_property

from diag.collectors.procfs import ProcFolder
from diag.collectors.sockets import host

_LISTENS = "0A"


class Descriptors:
    """The open descriptors of a process, named when they are asked for; the tables are read once."""

    def __init__(self, folder: ProcFolder) -> None:
        self._folder = folder

    def name(self, number: int) -> tuple[str, str]:
        """(kind, words): ("socket", "tcp 10.0.0.1:5432"), ("file", "/srv/a.db"), ("pipe", "a pipe (fd 4)")."""
        try:
            target = self._folder.link(f"fd/{number}")
        except OSError:
            return "file", f"fd {number}"
        if target.startswith("socket:["):
            return "socket", self._sockets.get(target[8:-1], f"a socket (fd {number})")
        if target.startswith("pipe:["):
            return "pipe", f"a pipe (fd {number})"
        if target.startswith("anon_inode:"):
            return "event", f"{target[11:].strip('[]')} (fd {number})"
        return "file", target

    @cached_property
    def _sockets(self) -> dict[str, str]:
        """Inode to words, of every socket in the process's network namespace."""
        found: dict[str, str] = {}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for fields in self._table(table):
                found[fields[9]] = _internet(table.rstrip("6"), fields)
        for fields in self._table("unix"):
            found[fields[6]] = f"unix {fields[7]}" if len(fields) > 7 else "a unix socket"
        return found

    def _table(self, name: str) -> list[list[str]]:
        try:
            lines = self._folder.text(f"net/{name}").splitlines()[1:]
        except OSError:
            return []
        return [fields for line in lines if len(fields := line.split()) > 6]


def _internet(protocol: str, fields: list[str]) -> str:
    if fields[3] == _LISTENS or set(fields[2]) <= set("0:"):
        return f"{protocol} {_address(fields[1])} (listening)" if protocol == "tcp" else f"udp {_address(fields[1])}"
    return f"{protocol} {_address(fields[2])}"


def _address(text: str) -> str:
    address, _, port = text.partition(":")
    shown = host(address)
    return f"[{shown}]:{int(port, 16)}" if ":" in shown else f"{shown}:{int(port, 16)}"
