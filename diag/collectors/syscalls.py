"""In which system call a thread waits, and what that means.

Source: proc_pid_syscall(5); numbers are those of x86-64 (syscall_64.tbl) and of the generic table (aarch64, riscv).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from diag.collectors.descriptors import Descriptors
from diag.collectors.procfs import ProcFolder
from diag.evidence import Wait

# name: (x86-64, generic)
# fmt: off
_NUMBERS = {
    "read": (0, 63), "write": (1, 64), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "futex": (202, 98), "futex_wait": (455, 455),
    "futex_waitv": (449, 449), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "pause": (34, None),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243), "sendto": (44, 206), "sendmsg": (46, 211),
    "sendfile": (40, 71), "accept": (43, 202), "accept4": (288, 242), "connect": (42, 203), "wait4": (61, 260),
    "waitid": (247, 95), "flock": (73, 32), "fcntl": (72, 25), "fsync": (74, 82), "fdatasync": (75, 83),
    "open": (2, None), "openat": (257, 56), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "restart_syscall": (219, 128), "getrandom": (318, 278), "io_uring_enter": (426, 426), "semtimedop": (220, 192),
    "semop": (65, 193), "msgrcv": (70, 188), "io_getevents": (208, 4),
}
# fmt: on
_NAMES = {
    numbers[0 if platform.machine() == "x86_64" else 1]: name
    for name, numbers in _NUMBERS.items()
    if numbers[0 if platform.machine() == "x86_64" else 1] is not None
}
_ON_DESCRIPTOR = {
    "read": "reads from", "pread64": "reads from", "readv": "reads from", "recvfrom": "reads from",
    "recvmsg": "reads from", "recvmmsg": "reads from", "write": "writes to", "pwrite64": "writes to",
    "writev": "writes to", "sendto": "writes to", "sendmsg": "writes to", "sendfile": "writes to",
    "accept": "accepts connections on", "accept4": "accepts connections on", "connect": "connects through",
    "fsync": "syncs", "fdatasync": "syncs", "flock": "waits for a lock on",
}  # fmt: skip
_PLAIN = {
    "nanosleep": ("sleep", "sleeps"), "clock_nanosleep": ("sleep", "sleeps"), "pause": ("signal", "waits for a signal"),
    "wait4": ("child", "waits for a child"), "waitid": ("child", "waits for a child"),
    "rt_sigtimedwait": ("signal", "waits for a signal"), "rt_sigsuspend": ("signal", "waits for a signal"),
    "open": ("file", "opens a file"), "openat": ("file", "opens a file"), "restart_syscall": ("sleep", "sleeps"),
    "select": ("poll", "waits for descriptors (select)"), "pselect6": ("poll", "waits for descriptors (select)"),
    "poll": ("poll", "waits for descriptors (poll)"), "ppoll": ("poll", "waits for descriptors (poll)"),
    "futex": ("lock", "waits on a futex"), "futex_wait": ("lock", "waits on a futex"),
    "futex_waitv": ("lock", "waits on a futex"),
}  # fmt: skip
_COUNTED = {"select": 0, "pselect6": 0, "poll": 1, "ppoll": 1}  # which argument is the number of descriptors
_EPOLL = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
_SETLKW = (7, 38)  # F_SETLKW and F_OFD_SETLKW, fcntl.h
_FUTEX_COMMAND = 0x7F


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that a thread is in: its name, its six arguments, and where the thread's stack stands."""

    name: str
    arguments: tuple[int, ...]
    stack: int

    @property
    def futex(self) -> int:
        """The address that it waits on; 0 where it waits on none."""
        return self.arguments[0] if self.name == "futex" else 0

    @property
    def futex_command(self) -> int:
        """FUTEX_WAIT, FUTEX_WAIT_BITSET, … without the flags."""
        return self.arguments[1] & _FUTEX_COMMAND

    @property
    def for_events(self) -> bool:
        """Whether it waits for descriptors to be ready, as an event loop does when it has nothing to do.

        With none it only sleeps: Python's time.sleep before 3.11 does.
        """
        counted = _COUNTED.get(self.name)
        return self.name in _EPOLL or (counted is not None and self.arguments[counted] & 0xFFFFFFFF != 0)


def call_of(folder: ProcFolder, thread_id: int) -> Call | None:
    """The system call that the thread waits in; None where it runs, is stopped in its own code, or may not be read."""
    try:
        words = folder.small(f"task/{thread_id}/syscall").split()
    except OSError:
        return None
    if len(words) != 9:
        return None  # "running", or "-1 SP PC": in no call
    arguments = tuple(int(word, 16) for word in words[1:7])
    return Call(_NAMES.get(int(words[0]), f"system call {int(words[0])}"), arguments, int(words[7], 16))


def meaning(call: Call, descriptors: Descriptors) -> Wait:
    """What the call waits for, in words; locks are left to those who know them."""
    name, arguments = call.name, call.arguments
    if name in _ON_DESCRIPTOR:
        kind, words = descriptors.name(arguments[0] & 0xFFFFFFFF)
        return Wait("file lock" if name == "flock" else kind, f"{_ON_DESCRIPTOR[name]} {words}")
    if name == "fcntl" and arguments[1] in _SETLKW:
        return Wait("file lock", f"waits for a lock on {descriptors.name(arguments[0] & 0xFFFFFFFF)[1]}")
    if name in _COUNTED and not call.for_events:
        return Wait(*_PLAIN["nanosleep"], timed=True)
    if name in _EPOLL:
        return Wait("poll", "waits for events (epoll)", timed=arguments[3] & 0xFFFFFFFF != 0xFFFFFFFF)
    if name in ("futex", "futex_wait"):
        return Wait(*_PLAIN[name], timed=arguments[3] != 0)
    if name in _PLAIN:
        return Wait(*_PLAIN[name], timed=_PLAIN[name][0] in ("sleep", "poll"))
    return Wait("kernel", f"is in {name}")
