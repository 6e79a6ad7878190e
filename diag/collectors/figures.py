"""The few figures of a process that are cheap enough to be taken again and again: two looks into /proc."""

from __future__ import annotations

import os

from diag.collectors.proc import PAGE_BYTES, TICK_HZ
from diag.collectors.procfs import ProcFolder, gone, parse_stat
from diag.evidence import Sample
from diag.model import now


def read_figures(pid: int, ticks: int) -> Sample:
    """Memory, CPU time, threads and open files of this very process now.

    Raises NoSuchInstance where it has ended or its pid is another's, OSError where /proc may not be read.
    """
    with ProcFolder(pid) as folder:
        try:
            _, fields = parse_stat(folder.small("stat"))
            if int(fields[19]) != ticks or fields[0] in "ZX":  # a zombie has given its memory back
                raise gone(pid)
            open_files = _open_files(folder)
        except (FileNotFoundError, ProcessLookupError):
            raise gone(pid) from None
    return Sample(
        time=now(),
        rss=int(fields[21]) * PAGE_BYTES,
        cpu_s=(int(fields[11]) + int(fields[12])) / TICK_HZ,
        threads=int(fields[17]),
        open_files=open_files,
    )


def _open_files(folder: ProcFolder) -> int | None:
    """How many, without a list of them: the size of the folder, since Linux 6.2 (proc_pid_fd(5))."""
    try:
        descriptor = folder.open("fd")
    except PermissionError:
        return None
    try:
        return os.fstat(descriptor).st_size or None
    finally:
        os.close(descriptor)
