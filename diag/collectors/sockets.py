"""The sockets that a process listens on, and connections to them, also in another network namespace.

Source: proc_pid_net(5) and proc_pid_fd(5) for the tables, setns(2) for the way into a namespace.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from diag.errors import CannotAttach, ToolFailed

_LISTENS = "0A"
_CLONE_NEWNET = 0x40000000
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where somebody listens: an IP address as text, and a port. `inode` is the socket's own number."""

    host: str
    port: int
    inode: str = ""


def listening(pid: int) -> list[Address]:
    """Every TCP socket that this process listens on, loopback first. Empty where its descriptors may not be read."""
    own = _sockets_of(pid)
    found = [address for address in listening_beside(pid) if address.inode in own]
    return sorted(found, key=lambda address: (not ipaddress.ip_address(address.host).is_loopback, address))


def listening_beside(pid: int) -> list[Address]:
    """Every TCP socket that anybody in the process's network namespace listens on."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue  # no IPv6, or it has ended
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS:
                number, _, port = fields[1].partition(":")
                found.append(Address(host(number), int(port, 16), fields[9]))
    return found


def connect(pid: int, address: Address, *, timeout_s: float) -> socket.socket:
    """A connection to where the process listens, from inside its network namespace.

    Raises OSError where nobody answers, CannotAttach where the namespace may not be entered.
    """
    try:
        elsewhere = os.stat(f"/proc/{pid}/ns/net").st_ino != Path("/proc/self/ns/net").stat().st_ino  # noqa: PTH116
    except PermissionError:
        elsewhere = False
    if not elsewhere:
        return _connected(address, timeout_s)
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def inside() -> None:
        # A thread has a network namespace of its own, and a socket stays in the one it was made in.
        try:
            _enter(pid)
            made.append(_connected(address, timeout_s))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=inside, name="namespace")
    thread.start()
    thread.join()
    for error in failed:
        if isinstance(error, PermissionError):
            raise CannotAttach(
                f"Process {pid} is in another network namespace, which this user may not enter.",
                "Run diag in the same container, or as root with CAP_SYS_ADMIN on the host.",
            ) from error
        raise error
    return made[0]


def _connected(address: Address, timeout_s: float) -> socket.socket:
    return socket.create_connection((_ANY.get(address.host, address.host), address.port), timeout_s)


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _sockets_of(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)  # noqa: PTH115  `socket:[123]` is no path
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def host(text: str) -> str:
    """The address as the kernel writes it: words of 32 bits in the machine's own order."""
    packed = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def told(error: OSError | Exception, what: str) -> ToolFailed:
    """The failure of a conversation with the process, in words."""
    return ToolFailed(f"{what}: {error or type(error).__name__}.")
