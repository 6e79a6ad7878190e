"""What a run leaves running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from instances import Machine


def running(machine: Machine) -> Iterator[str]:
    """Every process that was started in the machine's home: its pid and its command line."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"HOME={machine.home}".encode() in environment.read_bytes().split(b"\0"):
                yield f"{environment.parent.name} {environment.with_name('cmdline').read_bytes()[:200]!r}"
