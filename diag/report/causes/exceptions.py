"""Verdicts on Python exceptions: what was raised and where, and what the well-known ones mean."""

from __future__ import annotations

import errno
import re
from typing import Any

from diag.report.causes.shape import HIGH, Cause, verdict
from diag.report.reading import Json, app_frame, chain, place, serving, summary

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_OS_ERRORS: dict[int, tuple[Cause, str]] = {
    errno.EADDRINUSE: ("port-in-use", "another process listens on this address already"),
    errno.ENOSPC: ("disk-full", "no space is left on the disk"),
    errno.EMFILE: ("too-many-files", "it has as many files open as its limit allows"),
    errno.ENOMEM: ("no-memory", "the system gave it no more memory"),
    errno.EROFS: ("read-only", "the file system is read-only"),
}
_KINDS: dict[str, tuple[Cause, str]] = {
    "ModuleNotFoundError": ("missing-module", "a module is not installed, or not on the path"),
    "MemoryError": ("no-memory", "it got no more memory"),
    "RecursionError": ("recursion", "a function called itself too deeply"),
    "KeyboardInterrupt": ("stopped", "it was asked to stop with SIGINT (Ctrl-C)"),
    "SyntaxError": ("syntax-error", "a source file does not parse"),
    "IndentationError": ("syntax-error", "a source file does not parse"),
}


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a report whose `exception` ended the process, or a request in it."""
    exception = report["exception"]
    cause, meaning = _meaning(exception)
    frame = app_frame(exception["frames"])
    where = f" in {place(frame)}" if frame else ""
    means = f": {meaning}" if meaning else ""
    evidence = [f"Raised from {summary(earlier)}." for earlier in list(chain(exception))[1:4]]
    parts = exception.get("exceptions", ())
    evidence += [f"The group holds {summary(part)}." for part in parts[:3]]
    if frame is None:
        evidence.append("The exception carries no frame.")
    return verdict(cause, f"{summary(exception)}{where}{serving(report)}{means}.", HIGH, evidence)


def _meaning(exception: Json) -> tuple[Cause, str]:
    """The cause and what it means, for the exception or what it was explicitly raised from."""
    for raised in chain(exception):
        if raised["type"] in _KINDS and raised["module"] in (None, "builtins"):
            return _KINDS[raised["type"]]
        number = _ERRNO.match(raised["message"])
        if number and int(number[1]) in _OS_ERRORS:
            return _OS_ERRORS[int(number[1])]
    return "exception", ""
