"""How much the spool takes at most, so that not every capture has to walk through all that wait.

The number only grows between two walks: it is raised before bytes are written, and never lowered for what goes. So
whoever is killed, it stays an upper bound, and a walk makes it exact when it comes near the quota.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_DIGITS = 20


class Usage:
    """The number in a file, used with the lock held. It is not fsynced: one of an earlier boot does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """At most so many bytes are used; None where a walk has to tell."""
        try:
            boot, number = self._path.read_text("ascii").split()
            return int(number) if boot == _boot() else None
        except (OSError, ValueError):
            return None

    def write(self, used_bytes: int) -> None:
        """Keep the number; on a full disk it may not be kept, and the next one walks again."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, f"{_boot()} {used_bytes:0{_DIGITS}d}".encode(), 0)
            finally:
                os.close(descriptor)


def _boot() -> str:
    return _BOOT.read_text("ascii").strip()
