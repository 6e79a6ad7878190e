"""Measures for how long a process stands still while a tool reads it."""

from __future__ import annotations

import os
import random
import threading
import time
from types import TracebackType
from typing import Self

from diag.collectors.procfs import ProcFolder

TICK_S = 0.0002
LOOK_S = 0.005
_STANDING = (b"t", b"T")  # in a tracer's hands, or stopped


class _Looker:
    """Looks at a process from another thread while the block runs; `pause_s` is known behind it."""

    def __init__(self, pid: int) -> None:
        with ProcFolder(pid) as folder:
            self._stat = folder.open("stat")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pause", daemon=True)
        self.pause_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        os.close(self._stat)

    def _watch(self) -> None:
        raise NotImplementedError

    def _standing(self) -> bool:
        try:
            return os.pread(self._stat, 512, 0).rpartition(b")")[2].split(maxsplit=1)[0] in _STANDING
        except (OSError, IndexError):
            return False


class PauseWatch(_Looker):
    """Watches one process from outside while the block runs; `pause_s` then says how long it stood.

    The kernel's state is sampled, and each stop is counted from the last moment seen running to the first moment seen
    running again, so the figure errs to the long side. Raises NoSuchInstance.
    """

    def _watch(self) -> None:
        running_at: float | None = None
        stopped_from: float | None = None
        while True:
            before, standing = time.monotonic(), self._standing()
            if not standing and stopped_from is not None:
                self.pause_s += time.monotonic() - stopped_from
                stopped_from = None
            if standing and stopped_from is None:
                stopped_from = running_at if running_at is not None else before
            if not standing:
                running_at = before  # and not of after the look, when it may stand already
            if self._done.wait(TICK_S):
                break
        if stopped_from is not None:
            self.pause_s += time.monotonic() - stopped_from


class PauseEstimate(_Looker):
    """Estimates the same over a long time, for hardly any CPU: from how often a look finds the process standing.

    Whoever stops it at each sample has a beat, so the looks come at times of chance. Raises NoSuchInstance.
    """

    def _watch(self) -> None:
        began, looks, stood = time.monotonic(), 0, 0
        while not self._done.wait(random.uniform(0, 2 * LOOK_S)):
            looks += 1
            stood += self._standing()
        self.pause_s = (time.monotonic() - began) * stood / max(1, looks)
