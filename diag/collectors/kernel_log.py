"""What the kernel's log says of a process that its OOM killer ended, where this user may read the log."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_LOG = "/dev/kmsg"
_RECORD_LIMIT = 8192  # the kernel's CONSOLE_EXT_LOG_MAX; a read takes one record, whole
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # include/linux/proc_ns.h, PROC_PID_INIT_INO: the log counts pids there
_TICK_HZ = os.sysconf("SC_CLK_TCK")
_CLOCK_SLACK_S = 1.0  # the log's clock stops while the machine sleeps and drifts a little; a process's start does not
# mm/oom_kill.c, __oom_kill_process
_KILLED = r"(?:Memory cgroup out of memory|Out of memory[^:]*): Kill(?:ed)? process {pid} \(.*"


def oom_kill(pid: int, ticks: int) -> str | None:
    """The line that says that the OOM killer ended this process, which started at `ticks`; None where there is none."""
    wanted = re.compile(_KILLED.format(pid=pid))
    asleep_s = _slept_s()
    found = None
    for moment_s, text in _records():
        told = wanted.match(text)
        if told and moment_s + asleep_s + _CLOCK_SLACK_S >= ticks / _TICK_HZ:
            found = told[0]
    return found


def _slept_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _records() -> Iterator[tuple[float, str]]:
    """(seconds since boot, text) of each record, oldest first (Documentation/ABI/testing/dev-kmsg)."""
    try:
        if str(Path("/proc/self/ns/pid").readlink()) != _FIRST_PID_NAMESPACE:
            return
        log = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(log, _RECORD_LIMIT)
            except BrokenPipeError:
                continue  # overwritten while we read; the next read goes on behind it
            head, _, text = record.decode(errors="replace").partition(";")
            yield int(head.split(",")[2]) / 1e6, text.partition("\n")[0]
    except (OSError, ValueError, IndexError):
        return  # the end, as a rule: it would block
    finally:
        os.close(log)
