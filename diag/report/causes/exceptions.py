"""Verdicts on exceptions: what was raised and where, and what the well-known ones mean."""

from __future__ import annotations

import errno
import re
from typing import Any

from diag.report.causes import go, node
from diag.report.causes.shape import HIGH, Cause, verdict
from diag.report.reading import Json, app_frame, chain, place, serving, summary

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_OS_ERRORS: dict[int, tuple[Cause, str]] = {
    errno.EADDRINUSE: ("port-in-use", "another process listens on this address already"),
    errno.ENOSPC: ("disk-full", "no space is left on the disk"),
    errno.EMFILE: ("too-many-files", "it has as many files open as its limit allows"),
    errno.ENOMEM: ("no-memory", "the system gave it no more memory"),
    errno.EROFS: ("read-only", "the file system is read-only"),
    errno.EDQUOT: ("disk-full", "the quota of its user is used up"),
    errno.EFBIG: ("file-too-large", "a file may not grow beyond its limit (ulimit -f)"),
    errno.ENFILE: ("too-many-files", "the whole machine has as many files open as it may"),
    errno.ENOENT: ("missing-file", "a file or folder is not there"),
    errno.EACCES: ("no-permission", "its user may not do this"),
    errno.EPERM: ("no-permission", "its user may not do this"),
    errno.ECONNREFUSED: ("connection-refused", "nobody listens at the address that it connects to"),
    errno.EPIPE: ("broken-pipe", "whoever read what it writes has gone"),
}
_NO_LIBRARY = re.compile(r"\.so[\w.]*: cannot open shared object file")  # dlerror(3), untranslated
_NO_FILE = re.compile(r"\(<[^>]*>, line \d+\)$")  # where a SyntaxError says it is
_NO_EXPORT = re.compile(r"The requested module '[^']*' does not provide an export named ")  # V8, of an import
_NOT_OF_A_FILE = "code that it was given does not parse"
_CALL = re.compile(r'^  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)  # as traceback.format_tb writes it
# EAGAIN says many things; where these start a process it says that no more may be started.
_STARTING = frozenset([("subprocess", "_execute_child"), ("popen_fork", "_launch"), ("util", "spawnv_passfds")])
_NO_MORE: tuple[Cause, str] = (
    "too-many-processes",
    "it may start no more threads and processes (ulimit -u, or the control group's pids.max)",
)
_KINDS: dict[str, tuple[Cause, str]] = {
    "ModuleNotFoundError": ("missing-module", "a module is not installed, or not on the path"),
    "MemoryError": ("no-memory", "it got no more memory"),
    "RecursionError": ("recursion", "a function called itself too deeply"),
    "KeyboardInterrupt": ("stopped", "it was asked to stop with SIGINT (Ctrl-C)"),
    "SyntaxError": ("syntax-error", "a source file does not parse"),
    "IndentationError": ("syntax-error", "a source file does not parse"),
    "TabError": ("syntax-error", "a source file does not parse"),
}
_NODE_CODES: dict[str, tuple[Cause, str]] = {
    "MODULE_NOT_FOUND": _KINDS["ModuleNotFoundError"],
    "ERR_MODULE_NOT_FOUND": _KINDS["ModuleNotFoundError"],
    "ENOTFOUND": ("unknown-host", "the name of a host could not be looked up"),
    "EAI_AGAIN": ("unknown-host", "the name of a host could not be looked up"),
}


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a report whose `exception` ended the process, or a request in it."""
    exception = report["exception"]
    if report["instance"]["runtime"].startswith("go"):
        return go.judge(report)
    cause, meaning = _meaning(exception)
    means = f": {meaning}" if meaning else ""
    evidence = [node.REJECTED] if report.get("node", {}).get("unhandledRejection") else []
    evidence += [_earlier(raised) for raised in list(chain(exception))[1:4]]
    evidence += [f"The group holds {summary(part)}{_raised_in(part)}." for part in _leaves(exception)[:3]]
    if not exception["frames"]:
        evidence.append("The exception carries no frame.")
    return verdict(
        cause, f"{summary(exception)}{_raised_in(exception)}{serving(report)}{means}{_later(report)}.", HIGH, evidence
    )


def _later(report: Json) -> str:
    """How the process ended, where that was not the exception's doing: other threads, or exit handlers, had gone on."""
    ended = report["exit"]
    if report["level"] != "FULL" or not report["instance"]["runtime"].startswith("python"):
        return ""
    if ended["signal"]:
        return f"; it was ended by {ended['signal']} after that"
    return f"; it left with exit status {ended['status']} after that" if ended["status"] not in (None, 1) else ""


def _earlier(raised: Json) -> str:
    """Of what a worker of a pool raised, multiprocessing and concurrent.futures send the traceback as a text."""
    calls = _CALL.findall(raised["message"]) if raised["type"] in ("RemoteTraceback", "_RemoteTraceback") else []
    if not calls:
        return f"Raised from {summary(raised)}."
    file, line, function = calls[-1]
    return f"The pool's worker raised it in {function} ({file.rpartition('/')[2]}:{line})."


def _raised_in(exception: Json) -> str:
    frame = app_frame(exception["frames"])
    return f" in {place(frame)}" if frame else ""


def _leaves(group: Json) -> list[Json]:
    """The exceptions that a group, and the groups in it, hold."""
    parts = group.get("exceptions", ())
    return [leaf for part in parts for leaf in (_leaves(part) if part.get("exceptions") else [part])]


def _meaning(exception: Json) -> tuple[Cause, str]:
    """The cause and what it means, for the exception or what it was explicitly raised from."""
    for raised in chain(exception):
        if node.code(raised) in _NODE_CODES:
            return _NODE_CODES[str(node.code(raised))]
        if (raised["type"], raised["message"]) == ("RangeError", "Maximum call stack size exceeded"):
            return _KINDS["RecursionError"]
        if raised["type"] in _KINDS and raised["module"] in (None, "builtins"):
            return _unparsed(raised) if raised["type"] == "SyntaxError" else _KINDS[raised["type"]]
        if _starts_no_more(raised):
            return _NO_MORE
        if raised["type"] in ("ImportError", "OSError") and _NO_LIBRARY.search(raised["message"]):
            return "missing-library", "a shared library is not installed, or not on the loader's path"
        if raised["type"] == "gaierror":
            return "unknown-host", "the name of a host could not be looked up"
        number = _errno(raised)
        if number in _OS_ERRORS:
            return _OS_ERRORS[number]
    return "exception", ""


def _unparsed(exception: Json) -> tuple[Cause, str]:
    """A SyntaxError is of a file, of a text that was to be compiled, or, in JavaScript, of JSON and much else."""
    frames = exception["frames"]
    if _NO_EXPORT.match(exception["message"]):
        return "exception", ""
    if frames and frames[0]["language"] == "javascript" and frames[0]["function"] != "<module>":
        return "exception", ""
    cause, meaning = _KINDS["SyntaxError"]
    return cause, _NOT_OF_A_FILE if _NO_FILE.search(exception["message"]) else meaning


def _errno(exception: Json) -> int | None:
    number = _ERRNO.match(exception["message"])
    return int(number[1]) if number else node.number(exception)


def _starts_no_more(exception: Json) -> bool:
    if exception["type"] == "RuntimeError":
        return bool(exception["message"] == "can't start new thread")  # thread_PyThread_start_new_thread's only words
    if _errno(exception) != errno.EAGAIN or not exception["frames"]:
        return False
    innermost = exception["frames"][0]
    file = (innermost["file"] or "").rpartition("/")[2].removesuffix(".py")
    return (file, innermost["function"]) in _STARTING
