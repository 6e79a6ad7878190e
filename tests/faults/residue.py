"""What a run leaves behind: processes, and folders of instances that are gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from instances import Machine

LINGER_S = 120.0  # how long the guard and the uploader may take to see that nobody needs them, on a loaded machine


def running(machine: Machine) -> Iterator[str]:
    """Every process that was started in the machine's home: its pid and its command line."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"HOME={machine.home}".encode() in environment.read_bytes().split(b"\0"):
                yield f"{environment.parent.name} {environment.with_name('cmdline').read_bytes()[:200]!r}"


def left(machine: Machine) -> Iterator[str]:
    """A sentence for what is left behind once everybody had the time to end."""
    until = time.monotonic() + LINGER_S
    while remaining := list(running(machine)):
        if time.monotonic() > until:
            yield f"I3: still running: {remaining}"
            break
        time.sleep(0.01)
    folders = [path.name for path in (machine.home / "run/diag").glob("*")]
    if folders:
        yield f"I3: {folders} left in the run folder"
