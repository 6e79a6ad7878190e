"""What a Go program said as it died: the panic or fatal error, and all goroutines, read from its stderr.

The format is that of runtime/panic.go and runtime/traceback.go, Go 1.10 to 1.24. Others may write between its lines,
and its beginning or its middle may be gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from diag.collectors import go_stacks
from diag.evidence import ExceptionSeen, Frame, Thread
from diag.model import Missing

PANIC, FATAL = "panic", "fatal error"
_START = re.compile(r"^(?P<kind>panic|fatal error|SIG[A-Z]{2,6}): (?P<first>.*)$", re.MULTILINE)
_GOROUTINE = re.compile(r"^goroutine \d+ [^\n]*:$", re.MULTILINE)
_STACKS = re.compile(r"^(?:goroutine \d+ [^\n]*:|runtime stack:)$", re.MULTILINE)
_SIGNAL = re.compile(r"^\[signal (?P<told>.*)\]$", re.MULTILINE)
_NESTED = re.compile(r"\n\tpanic: ")
_RECOVERED = re.compile(r" \[recovered[^\]]*\]$")
_CUT = re.compile(r"^\[diag: (\d+) bytes of stderr were not kept\]$", re.MULTILINE)
_LONGEST = 8192
_LIMIT = re.compile(r"^runtime: goroutine stack exceeds .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GoDeath:
    """Its last trace. `threads` are goroutines, the one that died first and marked."""

    exception: ExceptionSeen | None
    threads: tuple[Thread, ...]
    missing: tuple[Missing, ...] = ()


def read(stderr: str | None) -> GoDeath | None:
    """What Go said of its death at the end of stderr; None where there is no trace."""
    text = (stderr or "").replace("\r\n", "\n")
    start = _last_start(text)
    if start is None and not _GOROUTINE.search(text):
        return None
    trace = text[start.start() if start else 0 :]
    missing = []
    if start is None:
        missing.append(Missing("exception", "the beginning of Go's trace, which names the panic, was not kept"))
    if cut := _CUT.search(trace):
        missing.append(Missing("threads", f"the middle of Go's trace was not kept: {cut[1]} bytes with goroutines"))
    threads = _threads(trace, died=start is not None)
    if start is not None and not threads:
        missing.append(Missing("threads", "Go's trace ends before its first goroutine"))
    frames = threads[0].frames if threads and threads[0].crashed else ()
    exception = _exception(start, text, trace, frames) if start else None
    return GoDeath(exception, threads, tuple(missing))


def _last_start(text: str) -> re.Match[str] | None:
    """The last line that begins a trace and has goroutines behind it, or the last one at all."""
    found = list(_START.finditer(text))
    whole = [start for start in found if _GOROUTINE.search(text, start.end())]
    chosen = whole or found
    # What follows a fatal error in one breath is part of it.
    return chosen[-1] if chosen else None


def _threads(trace: str, *, died: bool) -> tuple[Thread, ...]:
    begins = [found.start() for found in _STACKS.finditer(trace)]
    blocks = [trace[begin:end] for begin, end in pairwise([*begins, len(trace)])]
    found = [thread for block in blocks if (thread := go_stacks.goroutine(block.splitlines()))]
    unique = list({thread.thread_id: thread for thread in reversed(found)}.values())[::-1]
    if died and unique:
        unique[0] = replace(unique[0], crashed=True)
    return tuple(unique)


def _exception(start: re.Match[str], text: str, trace: str, frames: tuple[Frame, ...]) -> ExceptionSeen:
    stacks = _STACKS.search(trace)
    said = trace[: stacks.start() if stacks else len(trace)].removeprefix(f"{start['kind']}: ")
    told = _SIGNAL.search(said)
    notes = [told[1]] if told else []
    said = _SIGNAL.sub("", said).rstrip()[:_LONGEST]
    if start["kind"] != PANIC:
        limit = _LIMIT.search(text)
        first = said.partition("\n")[0]
        return ExceptionSeen(start["kind"], None, first, frames, notes=(*notes, *([limit[0]] if limit else [])))
    # Only "panic: " of its own line is nested: each is thrown while the one before it was handled.
    messages = [_RECOVERED.sub("", part.strip()) for part in _NESTED.split(f"\n\tpanic: {said}")[1:]]
    exception: ExceptionSeen | None = None
    for message in messages[:-1][-10:]:
        exception = ExceptionSeen(PANIC, None, message, context=exception)
    return ExceptionSeen(PANIC, None, messages[-1], frames, context=exception, notes=tuple(notes))
