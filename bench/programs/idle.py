"""Does nothing until it is told to: a byte on standard input lets a child of it die of SIGSEGV; the end ends it."""

from __future__ import annotations

import ctypes
import os

os.write(1, b"%d\n" % os.getpid())
while os.read(0, 1):
    pid = os.fork()
    if pid == 0:
        ctypes.string_at(0)
    os.waitpid(pid, 0)
    os.write(1, b"died\n")
