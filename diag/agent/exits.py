"""How a process that is not our child ended, as far as the kernel tells."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from pathlib import Path

from diag.evidence import Ended

# include/uapi/linux/pidfd.h, since Linux 6.15: struct pidfd_info, PIDFD_GET_INFO = _IOWR(0xFF, 11, struct pidfd_info).
_INFO_SIZE = 64
_PIDFD_GET_INFO = (3 << 30) | (_INFO_SIZE << 16) | (0xFF << 8) | 11
_MASK_EXIT = 1 << 3
_EXIT_CODE_AT = 60
_STAT_EXIT_CODE = 49  # proc_pid_stat(5), field 52, counted behind the command's closing bracket from field 3


def from_wait_status(status: int, source: str) -> Ended:
    """The typed end of a wait status (wait(2)); `source` says who saw it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended(
            signal=number,
            core_dumped=os.WCOREDUMP(status),
            evidence=(f"{source}: killed by {signal_name(number)}",),
        )
    code = os.WEXITSTATUS(status)
    return Ended(status=code, evidence=(f"{source}: exit status {code}",))


def of_stranger(pid: int, pidfd: int) -> Ended:
    """The end of an exited process that another process reaps: from its pidfd, or from its zombie while it is there."""
    status = _from_pidfd(pidfd)
    if status is not None:
        return from_wait_status(status, "the kernel's pidfd exit record")
    status = _from_zombie(pid)
    if status is not None:
        return from_wait_status(status, f"/proc/{pid}/stat of the zombie")
    # The parent may have reaped it between the two looks.
    status = _from_pidfd(pidfd)
    if status is not None:
        return from_wait_status(status, "the kernel's pidfd exit record")
    return Ended(evidence=("its parent took the exit status; this kernel (before 6.15) does not keep it for others",))


def signal_name(number: int) -> str:
    """SIGSEGV for 11; real-time signals as SIGRTMIN+n."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"


def _from_pidfd(pidfd: int) -> int | None:
    buffer = bytearray(struct.pack("<Q", _MASK_EXIT).ljust(_INFO_SIZE, b"\0"))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (known,) = struct.unpack_from("<Q", buffer)
    return int(struct.unpack_from("<i", buffer, _EXIT_CODE_AT)[0]) if known & _MASK_EXIT else None


def _from_zombie(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # The kernel shows 0 to those who may not trace it; a zombie with a real 0 left nothing to tell either.
    return int(fields[_STAT_EXIT_CODE]) if fields and fields[0] in (b"Z", b"X") else None
