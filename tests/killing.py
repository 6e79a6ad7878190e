"""Processes that do something to a disk and are killed at a chosen step of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

STEPS = ("mkdir", "rename", "link", "unlink", "rmdir", "write", "fsync", "posix_fallocate", "open")


def run_and_kill(step: int, action: Callable[[], object]) -> bool:
    """Run the action in a process that kills itself right before its nth system call that changes a disk.

    Returns whether it came to its end before that.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            _kill_at(step)
            action()
            status = 0
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    if os.WIFSIGNALED(waited):
        assert os.WTERMSIG(waited) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(waited) == 0
    return True


def _kill_at(step: int) -> None:
    left = step

    def counting(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))


def spawn(action: Callable[[], None]) -> int:
    """The pid of a fork that does this; it ends with 0 where nothing was raised."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return child
