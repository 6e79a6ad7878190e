"""The memory of a process, read from outside while it runs; nothing of it is stopped or changed."""

from __future__ import annotations

import os
import struct
from types import TracebackType

from diag.collectors.procfs import ProcFolder

_TEXT_LIMIT = 64


class Memory:
    """Words and texts at addresses of a process. What is not mapped reads as zeros. Raises OSError."""

    def __init__(self, folder: ProcFolder) -> None:
        self._fd = folder.open("mem")

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        """So many bytes, with zeros behind where the mapping ends."""
        try:
            found = os.pread(self._fd, size, address)
        except (OSError, OverflowError):
            found = b""
        return found.ljust(size, b"\0")

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """So many machine words of 8 bytes."""
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))

    def text(self, address: int) -> str:
        """A short text that ends with NUL, as C has them; empty where there is none."""
        raw, end, _ = self.read(address, _TEXT_LIMIT).partition(b"\0")
        return raw.decode("ascii", "replace") if end else ""
