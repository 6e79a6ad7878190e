"""A range of a file as a file of its own, so that no part of an upload is ever in memory."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

MOST = 64 * 1024


class Window(io.RawIOBase):
    """Reads by position: windows of one open file do not disturb each other, whichever thread reads them."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._length - self._at)
        # Less than was asked for is allowed; botocore asks for a mebibyte a thread, for its signature.
        wanted = left if size is None or size < 0 else min(size, left, MOST)
        chunk = os.pread(self._file.fileno(), wanted, self._start + self._at)
        self._at += len(chunk)
        return chunk
