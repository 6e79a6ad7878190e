"""Waits until it is told to die, says when (CLOCK_MONOTONIC, ns), and dies: die.py HOW THREADS HEAP_MB [WITH FILE]."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading

how, threads, heap_mb, *rest = sys.argv[1:]
core = resource.RLIM_INFINITY if rest[:1] == ["core"] else 0
resource.setrlimit(resource.RLIMIT_CORE, (core, resource.getrlimit(resource.RLIMIT_CORE)[1]))
if rest[:1] == ["faulthandler"]:
    import faulthandler

    text = open(rest[1], "w")  # noqa: PTH123, SIM115
    faulthandler.enable(file=text, all_threads=True)
if rest[:1] == ["sentry"]:
    import silent_sentry

    silent_sentry.init()

heap = b"x" * (int(heap_mb) << 20)
never = threading.Event()
for _ in range(int(threads) - 1):
    threading.Thread(target=never.wait, daemon=True).start()


def die() -> None:
    """Say when, and die."""
    from time import monotonic_ns

    os.write(1, b"%d\n" % monotonic_ns())
    if how == "raise":
        raise KeyError("sock")
    ctypes.string_at(0)


os.write(1, b"%d\n" % os.getpid())
os.read(0, 1)
die()
