"""Watches a process from outside, for tests that promise not to disturb it, or that wait until it rests."""

from __future__ import annotations

import threading
from contextlib import suppress
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
        while True:
            with suppress(OSError):  # it has ended
                self.seen.add(self._stat.read_text().rpartition(")")[2].split()[0])
            if self._done.wait(0.0002):
                break


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or only waits to be reaped. Its streams are closed a moment before that."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def resting(pid: int) -> list[str]:
    """The system call that each thread of a process rests in: its number and its first argument, main thread first.

    Empty while any thread runs. A thread that waits for the interpreter's lock does not rest: it wakes up every 5 ms,
    or whoever holds that lock runs.
    """
    before = _calls(pid)
    return [call for call, _ in before] if before and before == _calls(pid) else []


def _calls(pid: int) -> list[tuple[str, str]]:
    found = []
    try:
        for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name)):
            words = (task / "syscall").read_text().split()
            if words[0] in ("running", "-1"):
                return []
            switches = [line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line]
            found.append((" ".join(words[:2]), " ".join(switches)))
    except (OSError, IndexError):
        return []  # a thread has ended
    return found
