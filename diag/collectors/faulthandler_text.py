"""Reads what CPython's faulthandler writes: the fallback where a dying process can not be read from outside.

Format: Python/traceback.c (_Py_DumpTracebackThreads) and Modules/faulthandler.c of CPython 3.8 to 3.13.
"""

from __future__ import annotations

import re

from diag.evidence import Frame, Thread

_FATAL = re.compile(r"Fatal Python error: (.*)")
_THREAD = re.compile(r"(Current thread|Thread) 0x([0-9a-fA-F]+)(?: \[(.*)\])? \(most recent call first\):")
_BARE_STACK = "Stack (most recent call first):"  # all_threads=False
# Of a freeze longer than the time that a write waits, words are missing: the first ones, of the first frame.
_FRAME = re.compile(r'(?:  File )?(?:"?(.*?)"|\?\?\?)(?:, line (\d+|\?\?\?))?(?: in (.*))?$')
_MODULES = "Extension modules:"


def parse_faulthandler(text: str) -> tuple[str | None, tuple[Thread, ...]]:
    """(the signal's name as CPython says it, the threads: the crashed one marked, frames innermost first).

    `thread_id` is the pthread's address, which is all that the text has. Text that is cut short gives what is there.
    """
    fatal = _FATAL.search(text)
    threads: list[Thread] = []
    frames: list[Frame] = []
    for line in text.splitlines():
        header = _header(line)
        if header:
            _close(threads, frames)
            threads.append(header)
        elif line.startswith(_MODULES):
            break
        elif threads:
            frames += _frame(line)
    _close(threads, frames)
    return (fatal[1].strip() if fatal else None), tuple(threads)


def _header(line: str) -> Thread | None:
    found = _THREAD.match(line)
    if found:
        return Thread(int(found[2], 16), name=found[3], crashed=found[1] == "Current thread")
    return Thread(0, crashed=True) if line.startswith(_BARE_STACK) else None


def _close(threads: list[Thread], frames: list[Frame]) -> None:
    """Give the frames read so far to the last thread."""
    if threads:
        last = threads[-1]
        threads[-1] = Thread(last.thread_id, last.name, last.crashed, frames=tuple(frames))
    frames.clear()


def _frame(line: str) -> list[Frame]:
    if line.strip() == "Garbage-collecting":
        return [Frame("Garbage-collecting", language="native")]
    found = _FRAME.match(line)
    if not found:
        return []  # "<no Python frame>", "...", a line that is cut short
    file = found[1] or None
    line_number = int(found[2]) if found[2] and found[2].isdigit() else None
    return [Frame(found[3] or "???", file, line_number)]
