"""Work that other threads have for the loop's thread."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Errands:
    """A queue with a bell that poll hears."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """For poll: readable when there is work."""
        return self._bell

    def heard(self) -> None:
        """Be quiet until there is more."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def run(self) -> None:
        """Do what waits, on the loop's thread."""
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()()

    def tell(self, work: Callable[[], None]) -> None:
        """From another thread: do this soon."""
        self._waiting.put(work)
        os.eventfd_write(self._bell, 1)

    def ask(self, work: Callable[[], T], timeout_s: float) -> T | None:
        """From another thread: the answer of this work, or None where it was not done in time."""
        answers: list[T] = []
        done = threading.Event()

        def do() -> None:
            try:
                answers.append(work())
            finally:
                done.set()

        self.tell(do)
        done.wait(max(0.0, timeout_s))
        return answers[0] if answers else None
