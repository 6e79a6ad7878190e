"""How fast bytes leave: a backlog of days must not take the network away from the instance that it is about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from diag.config import MIB, Settings

BURST_S = 1.0  # what was not used for so long may be sent at once, so that a small report never waits


class Pace:
    """A token bucket for all threads of a process: at most so many bytes a second, 0 for as many as there are."""

    def __init__(
        self,
        bytes_per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s, self._clock, self._sleep = bytes_per_s, clock, sleep
        self._lock = threading.Lock()
        self._paid_until = clock() - BURST_S

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        """The pace that the settings ask for."""
        return cls(settings.upload_rate_mb_s * MIB)

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may go."""
        if not self._bytes_per_s:
            return
        with self._lock:
            current = self._clock()
            self._paid_until = max(self._paid_until, current - BURST_S) + size_bytes / self._bytes_per_s
            wait_s = self._paid_until - current
        if wait_s > 0:
            self._sleep(wait_s)

    def body(self, body: Any) -> Any:
        """The body of a request, at this pace: bytes wait before they go as a whole, a file while it is read."""
        if not self._bytes_per_s or body is None:
            return body
        if hasattr(body, "read"):
            return _Paced(body, self)
        self.take(len(body))
        return body


class _Paced:
    """A file whose reader is held back. All but reading is the file's own business."""

    def __init__(self, file: Any, pace: Pace) -> None:
        self._file, self._pace = file, pace

    def read(self, size: int = -1) -> bytes:
        chunk: bytes = self._file.read(size)
        self._pace.take(len(chunk))
        return chunk

    def __len__(self) -> int:
        length: int = self._file.len if hasattr(self._file, "len") else len(self._file)
        return length

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
