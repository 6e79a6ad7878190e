"""Watches a process from outside, for tests that promise not to disturb it."""

from __future__ import annotations

import threading
from pathlib import Path


class States:
    """Collects every state that a process is seen in while the block runs."""

    def __init__(self, pid: int) -> None:
        self.seen: set[str] = set()
        self._stat = Path(f"/proc/{pid}/stat")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> States:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.0002):
            self.seen.add(self._stat.read_text().rpartition(")")[2].split()[0])
