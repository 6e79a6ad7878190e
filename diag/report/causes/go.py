"""Verdicts on the deaths that Go's runtime tells of: panics and fatal errors."""

from __future__ import annotations

import re
from typing import Any

from diag.report.causes.shape import HIGH, Cause, verdict
from diag.report.reading import Json, app_frame, place, summary

_SAYS = "Go's own trace at the end of stderr says so."
_MOST = 5
# runtime/panic.go, runtime/proc.go, runtime/map.go, runtime/stack.go, runtime/malloc.go
_MEANINGS: tuple[tuple[str, Cause, str], ...] = (
    (
        r"all goroutines are asleep - deadlock!",
        "deadlock",
        "Deadlock",
    ),
    (r"concurrent map ", "concurrent-map", "Two goroutines used one map at the same time"),
    (r"stack overflow", "recursion", "A function called itself too deeply"),
    (r"(?:runtime: )?(?:out of memory|cannot allocate memory)", "no-memory", "It got no more memory"),
    (
        r"runtime error: invalid memory address or nil pointer dereference",
        "null-dereference",
        "Nil pointer dereference",
    ),
    (
        r"unexpected signal|fault|runtime error: invalid memory address",
        "wild-pointer",
        "Access to memory that it may not use",
    ),
    (r"assignment to entry in nil map", "panic", "It wrote to a map that was never made"),
)


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a Go program that died of a panic or a fatal error."""
    exception = report["exception"]
    frame = app_frame(exception["frames"])
    where = f" in {place(frame)}" if frame else ""
    evidence = [_SAYS, *(f"Go: {note}." for note in exception.get("notes", ()))]
    evidence += [f"It came while another was handled: {summary(earlier)}." for earlier in _context(exception)]
    if exception["type"].startswith("SIG"):
        sentence = f"{exception['type']} was sent to it, at which Go prints all goroutines and leaves."
        return verdict("stopped", sentence, HIGH, evidence)
    for pattern, cause, meaning in _MEANINGS:
        if re.match(pattern, exception["message"]):
            waits = _waits(report) if cause == "deadlock" else []
            said = exception["message"].partition("\n")[0].rstrip("!.")
            sentence = f"{meaning}{where}: {said}."
            return verdict(cause, sentence, HIGH, [*evidence, *waits])
    cause = "panic" if exception["type"] == "panic" else "fault"
    return verdict(cause, f"{summary(exception)}{where}.", HIGH, evidence)


def _context(exception: Json) -> list[Json]:
    found: list[Json] = []
    while (exception := exception.get("context") or {}) and len(found) < _MOST:
        found.append(exception)
    return found


def _waits(report: Json) -> list[str]:
    found = []
    for thread in report["threads"][:_MOST]:
        frame = app_frame([f for f in thread["frames"] if not f["function"].startswith("created by ")])
        where = f" in {place(frame)}" if frame else ""
        found.append(f"{thread['name']} waits{where}: {thread['state']}.")
    return found
