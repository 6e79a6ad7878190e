"""The user's terminal while a command has it: raw, and as it was before on every way out."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULT_SIZE = (80, 24)


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Each key goes through as it is typed, Ctrl-C included."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """(columns, rows); the usual ones where it is no terminal or does not know."""
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return DEFAULT_SIZE
    return (columns or DEFAULT_SIZE[0], rows or DEFAULT_SIZE[1])


def resize(descriptor: int, columns: int, rows: int) -> None:
    """Give a terminal this size; whoever runs in it gets SIGWINCH."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
