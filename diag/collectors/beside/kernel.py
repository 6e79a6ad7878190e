"""System calls that Python 3.11 has no name for: setns(2), unshare(2), mount(2), prctl(2), capset(2).

Everything here works without an import, because it also runs where the file system is somebody else's.
"""

from __future__ import annotations

import ctypes
import os
import platform

NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000  # linux/sched.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 4, 23, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION = 0x20080522
LAST_CAPABILITY = 63
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine(), 41)

_libc = ctypes.CDLL(None, use_errno=True)


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _check(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def setns(descriptor: int, kind: int = 0) -> None:
    """Join the namespace behind the descriptor. Raises OSError."""
    _check(_libc.setns(descriptor, kind))


def unshare(kinds: int) -> None:
    """Leave the namespaces of these kinds for new ones. Raises OSError."""
    _check(_libc.unshare(kinds))


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Raises OSError."""
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))


def pivot_here() -> None:
    """Make the working directory, a mount point, the root, and let go of the old one. Raises OSError."""
    _check(_libc.syscall(ctypes.c_long(PIVOT_ROOT), b".", b"."))
    _check(_libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def prctl(option: int, first: int = 0) -> int:
    """Raises OSError."""
    zero = ctypes.c_ulong(0)
    return _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(first), zero, zero, zero))


def limit_capabilities(allowed: int) -> None:
    """No more than these, now and after any exec. What the kernel does not let us drop, it does not let us use."""
    for number in range(LAST_CAPABILITY):
        if not allowed >> number & 1:
            try:
                if prctl(PR_CAPBSET_READ, number):
                    prctl(PR_CAPBSET_DROP, number)
            except OSError:
                break  # beyond the last one that this kernel knows, or without CAP_SETPCAP


def keep_capabilities(allowed: int) -> None:
    """Take the others of these away from this process, and all that an exec would hand on. Raises OSError."""
    header, sets = _Header(CAPABILITY_VERSION, 0), (_Sets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets))
    for index, one in enumerate(sets):
        one.permitted &= allowed >> 32 * index & 0xFFFFFFFF
        one.effective, one.inheritable = one.permitted, 0
    _check(_libc.capset(ctypes.byref(header), sets))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
