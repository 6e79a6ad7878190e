"""Goroutines with what they wait for, as Go's own net/http/pprof tells them (`goroutine?debug=2`).

The format is that of a Go traceback: runtime/traceback.go.
"""

from __future__ import annotations

import http.client
import re
import time

from diag.collectors import go_pprof, sockets
from diag.errors import ToolFailed
from diag.evidence import Frame, Thread, Wait

_HEAD = re.compile(r"goroutine (\d+)(?: [^\[]*)? \[([^\]]+)\]:$")
_CALL = re.compile(r"created by \S|[^\s()]\S*\(.*\)$|[^\s()]+\(\*?\S+\(.*\)$")
_PLACE = re.compile(r"\t(?P<file>.+):(?P<line>\d{1,9})(?: \+0x[0-9a-f]+)?(?: fp=.*)?$")
_OURS = "runtime/pprof.writeGoroutineStacks"  # of the goroutine that answers us
_ELSEWHERE = "\tgoroutine running on other thread"  # in C, or computing: its stack is not there
_CREATED = "created by "
_RUNNING = ("running", "runnable", "syscall")
_KINDS = {
    "chan": "channel", "select": "channel", "IO wait": "socket", "sleep": "sleep", "semacquire": "lock",
    "sync": "lock", "GC": "runtime", "finalizer": "runtime", "force": "runtime",
}  # fmt: skip


def dump(pid: int, *, timeout_s: float = 10) -> tuple[tuple[Thread, ...], float]:
    """All goroutines, and for how long the program can have stood still for it. Raises WrongEngine, ToolFailed."""
    address = go_pprof.endpoint(pid)
    began = time.monotonic()
    try:
        status, content = go_pprof.get(pid, address, "goroutine?debug=2", timeout_s)
    except (OSError, http.client.HTTPException) as error:
        raise sockets.told(error, f"Process {pid} gave no goroutines") from error
    took_s = time.monotonic() - began
    found = parse(content.decode("utf-8", "replace"))
    if status != http.client.OK or not found:
        raise ToolFailed(f"Process {pid} answered {status} instead of its goroutines.")
    return found, took_s


def parse(text: str) -> tuple[Thread, ...]:
    """The goroutines in a traceback of all of them, by Go's numbers, without the one that wrote it."""
    return tuple(thread for block in text.split("\n\n") if (thread := goroutine(block.strip("\n").splitlines())))


def goroutine(lines: list[str]) -> Thread | None:
    """One goroutine, from its header on; None where it is the one that answers us. Lines of others are passed over."""
    head = _HEAD.match(lines[0]) if lines else None
    if head is None:
        return None
    state, _, rest = head[2].partition(", ")
    frames = []
    call = ""
    for line in lines[1:]:
        if line.startswith(_ELSEWHERE):
            continue
        if _CALL.match(line):
            call = line
        elif call and (found := _PLACE.match(line)):
            frames.append(_frame(call, found["file"], int(found["line"])))
            call = ""
    wait = None if state in _RUNNING else _wait(state, rest)
    if any(frame.function == _OURS for frame in frames):
        return None
    return Thread(int(head[1]), f"goroutine {head[1]}", state=state, frames=tuple(frames), waiting=wait)


def _frame(call: str, file: str, line: int) -> Frame:
    name = call.removeprefix(_CREATED).partition(" in goroutine ")[0]
    function = name if call.startswith(_CREATED) else _without_arguments(name)
    return Frame(f"created by {function}" if call.startswith(_CREATED) else function, file, line, language="go")


def _wait(state: str, rest: str) -> Wait:
    kind = next((kind for start, kind in _KINDS.items() if state.startswith(start)), "runtime")
    since = f" for {rest.partition(',')[0]}" if rest.partition(",")[0].endswith("minutes") else ""
    return Wait(kind, f"{state}{since}")


def _without_arguments(call: str) -> str:
    """`main.(*Shop).serve` for `main.(*Shop).serve(0xc000, {0x1, 0x2})`."""
    return call[: call.rfind("(")] if call.endswith(")") else call
