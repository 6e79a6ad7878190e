"""Processes that a freezer keeps from running."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import TIMEOUT_S, missing

FREEZER = Path("/sys/fs/cgroup/freezer")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process stands still in a frozen control group of version 1 inside the block, and nobody else thaws it."""
    if os.geteuid() or not (FREEZER / "cgroup.procs").exists():
        missing("needs root, and freezer groups of version 1")
    folder, home = FREEZER / f"diag-test-{os.getpid()}", group_of(pid)
    folder.mkdir()
    state = folder / "freezer.state"
    try:
        (folder / "cgroup.procs").write_text(str(pid))
        state.write_text("FROZEN")
        wait_for(state, "FROZEN")
        yield
        assert state.read_text().strip() == "FROZEN"
    finally:
        state.write_text("THAWED")
        wait_for(state, "THAWED")
        (home / "cgroup.procs").write_text(str(pid))
        folder.rmdir()


def group_of(pid: int) -> Path:
    """The freezer group that the process is in."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return next(FREEZER / group.strip("/") for _, controllers, group in lines if "freezer" in controllers.split(","))


def wait_for(state: Path, wanted: str) -> None:
    """Until the kernel says that all of the group stands, or runs."""
    until = time.monotonic() + TIMEOUT_S
    while state.read_text().strip() != wanted:
        assert time.monotonic() < until, f"the group is not {wanted}"
        time.sleep(0.01)
