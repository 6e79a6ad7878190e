"""How much the spool takes at most, so that not every capture has to walk through all that wait.

The number is raised before bytes are written, and lowered only for what is known to be gone. So whoever is killed, it
stays an upper bound. A walk brings it down again; because the sum of all that was ever granted stands beside it, what
came while somebody walked is known, and nobody has to be kept out for that.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from diag.spool.files import read_plain

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_DIGITS = 20


class Used(NamedTuple):
    """At most so many bytes are used, None where nobody knows; so many were granted since this number is kept."""

    at_most: int | None = None
    granted: int = 0


class Usage:
    """The numbers in a file, used with the lock held. It is not fsynced: one of an earlier boot does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Used:
        """What is known."""
        try:
            boot, at_most, granted = read_plain(self._path).decode("ascii").split()
            return Used(int(at_most), int(granted)) if boot == _boot() else Used()
        except (OSError, ValueError):
            return Used()

    def write(self, at_most: int, granted: int) -> None:
        """Keep the numbers; on a full disk they may not be kept, and the next one walks again."""
        with suppress(OSError):
            descriptor = self._open()
            try:
                os.pwrite(descriptor, f"{_boot()} {at_most:0{_DIGITS}d} {granted:0{_DIGITS}d}\n".encode(), 0)
            finally:
                os.close(descriptor)

    def _open(self) -> int:
        """The file for writing. A link or a pipe in its place is removed: without these numbers nothing fits."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            self._path.unlink()
            return os.open(self._path, flags, 0o600)


def _boot() -> str:
    return _BOOT.read_text("ascii").strip()
