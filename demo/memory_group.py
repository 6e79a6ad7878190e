"""A control group with a memory limit, for as long as something runs in it; where root may make one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
EMPTY_S = 30
# Where groups are made, version 1 and version 2, and the file that the limit goes into.
_PLACES = ((CGROUPS / "memory", "memory.limit_in_bytes"), (CGROUPS, "memory.max"))


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path | None]:
    """The group's folder, empty, which is removed afterwards; None where none can be made here."""
    folder = _make(limit_bytes)
    try:
        yield folder
    finally:
        if folder is not None:
            _remove(folder)


def _make(limit_bytes: int) -> Path | None:
    for place, limit in _PLACES:
        folder = place / f"diag-demo-{os.getpid()}"
        try:
            if not (place / "cgroup.procs").exists():
                continue
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(limit_bytes))
            return folder
        except OSError:  # this hierarchy does not limit memory
            folder.rmdir()
    return None


def _remove(folder: Path) -> None:
    until = time.monotonic() + EMPTY_S
    while (folder / "cgroup.procs").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    folder.rmdir()
