"""What the kernel lets this user see of other processes, asked without touching any of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from diag.collectors.procfs import parse_status

CAP_SYS_PTRACE = 19  # capabilities(7)
CAP_KILL = 5
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who we are to the kernel. `yama` is kernel.yama.ptrace_scope, 0 where Yama is absent."""

    uid: int
    may_trace_all: bool
    yama: int
    hidden_processes: str  # the hidepid option in words, empty where nothing is hidden


def permissions() -> Permissions:
    """This process's own permissions. Raises OSError where /proc is not mounted."""
    effective = int(parse_status(Path("/proc/self/status").read_text()).get("CapEff", "0"), 16)
    mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    return Permissions(os.geteuid(), bool(effective >> CAP_SYS_PTRACE & 1), _yama(), hidepid(mounts))


def _yama() -> int:
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return 0


def hidepid(mountinfo: str) -> str:
    """The value of `hidepid` with which /proc is mounted; empty where it hides nothing (proc(5))."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4:5] == ["/proc"] and after.startswith("proc "):
            for option in after.split()[-1].split(","):
                name, _, value = option.partition("=")
                if name == "hidepid" and value not in ("0", "off"):
                    return value
    return ""


def file_system(path: Path, mountinfo: str | None = None) -> str:
    """The type of the file system that holds the path: "tmpfs", "ext4", …; empty where it is not found."""
    text = Path("/proc/self/mountinfo").read_text(errors="replace") if mountinfo is None else mountinfo
    best, found = "", ""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        mounted = fields[4] if len(fields) > 4 else ""
        inside = mounted == "/" or path == Path(mounted) or Path(mounted) in path.parents
        # The last of several mounts on one place is the one that is seen.
        if mounted and inside and len(mounted) >= len(best):
            best, found = mounted, after.split()[0]
    return found


def may_sample(*, kernel: bool = False) -> bool:
    """Whether perf_event_open(2) is open to this user: for what runs in user space, or in the kernel too."""
    effective = int(parse_status(Path("/proc/self/status").read_text()).get("CapEff", "0"), 16)
    if effective >> CAP_PERFMON & 1 or effective >> CAP_SYS_ADMIN & 1:
        return True
    try:
        level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return False
    return level < (2 if kernel else 3)
