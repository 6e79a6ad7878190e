"""Files of the observed process: they belong to somebody else, and may be anything.

Regular files of a limited size only, and no symlink under a foreign root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

MAX_FILE_BYTES = 256 * 1024 * 1024
_DELETED = " (deleted)"


@contextmanager
def opened(path: str, root: str) -> Iterator[BinaryIO | None]:
    """The regular file behind the path, or None. Nothing else is ever opened for reading: no FIFO, no device."""
    handle = _locate(path, root)
    if handle is None:
        yield None
        return
    try:
        file = _reopen(handle)
    finally:
        os.close(handle)
    if file is None:
        yield None
        return
    with file:
        yield file


def _locate(path: str, root: str) -> int | None:
    """An O_PATH descriptor, which opens nothing yet."""
    if not path.startswith("/") or path.endswith(_DELETED) or "\0" in path:
        return None
    try:
        if root in ("", "/"):
            return os.open(path, os.O_PATH | os.O_CLOEXEC)
        return _walk(path, root)
    except OSError:
        return None


def _walk(path: str, root: str) -> int:
    # Paths in /proc/<pid>/maps hold no symlink. One that stands there now could lead out of the target's root.
    at = os.open(root, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    for part in path.split("/"):
        if part in ("", "."):
            continue
        try:
            if part == "..":
                raise PermissionError
            below = os.open(part, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def _reopen(handle: int) -> BinaryIO | None:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
        return None
    try:
        return open(f"/proc/self/fd/{handle}", "rb")  # noqa: PTH123 - the caller closes it
    except OSError:
        return None
