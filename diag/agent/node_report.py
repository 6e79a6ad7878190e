"""Reads the report that Node wrote of its own death (doc/api/report.md, versions 1 to 5), and trusts nothing in it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from diag.evidence import ExceptionSeen, Frame, NodeSeen
from diag.model import Missing

MAX_BYTES = 16 * 1024 * 1024
_FATAL = ("Exception", "FatalError", "OOMError")  # the other triggers are reports of a process that lives on
_LONGEST = 1000  # frames, and other lists
_LONGEST_TEXT = 4096
_TYPED = re.compile(r"(?P<type>[A-Za-z_$][\w$.]*)(?: \[\w+\])?(?:: (?P<message>.*))?", re.DOTALL)
_EXCERPT = re.compile(r"(?P<file>.+):(?P<line>\d{1,9})\n.*\n *\^+\n\n?")  # the line of source before the message
_PLACE = re.compile(r"(?P<file>.*?)(?::(?P<line>\d{1,9}))?(?::\d{1,9})?")
_TOLD = ("code", "errno", "syscall", "path", "address", "port")  # of an error's own properties, what may be shown
_SYMBOL = re.compile(r"(?P<function>.*?) ?\[(?P<module>[^\[\]]*)\]", re.DOTALL)
_VERSION = re.compile(r"v((?P<major>\d{1,4})\.[\w.+-]{1,60})")
_REJECTIONS_END = 15  # the first Node that ends at a rejection which nobody handles
# What ends the process is called by V8 where an exception was thrown past every catch, by Node's C++ where its own
# callback threw, and by Node's JavaScript where it finds a rejection unhandled; behind that V8 may have no name.
_TRIGGERED = "node::errors::TriggerUncaughtException"
_BY_JAVASCRIPT = ("v8::internal::FunctionCallbackArguments", "v8::internal::Builtin_HandleApiCall")
_REPORTING = "node::TriggerNodeReport"
_ABORTED = re.compile(r"^----- JavaScript stack trace -----\n\n(?P<lines>(?: *\d+: .*\n)+)", re.MULTILINE)


def read(path: Path, pid: int) -> NodeSeen | None:
    """What Node said of the death of this process; None where it wrote nothing of it."""
    try:
        content = _content(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _unread(f"Node's own report could not be read: {error.strerror}")
    if content is None:
        return _unread(f"Node's own report is no file of at most {MAX_BYTES >> 20} MiB, and was not read")
    try:
        written = json.loads(content)
    except (ValueError, RecursionError):
        return _unread(f"Node's own report is cut off or no JSON, after {len(content)} bytes")
    header = _mapping(written, "header")
    if not header:
        return _unread("Node's own report has no header: it is no report, or a foreign one")
    if header.get("trigger") not in _FATAL or header.get("threadId") not in (0, None):
        return None  # what a worker thread dies of, the main thread may handle
    if header.get("processId") != pid:
        return NodeSeen(of_child=_of_child(written, header))
    return _seen(written, header)


def of_living(text: str, pid: int) -> NodeSeen:
    """What Node says of itself while it lives: its heap, its usage, its handles; no stack, which would be ours."""
    try:
        written = json.loads(text)
    except (ValueError, RecursionError):
        return _unread("what Node said of itself is no JSON")
    header = _mapping(written, "header")
    if not header:
        return _unread("what Node said of itself has no header: it is no report")
    if header.get("processId") not in (pid, None) and _same_namespace(pid):
        return _unread(f"what Node said is of another process, {header.get('processId')}")
    seen = _seen(written, {**header, "trigger": "GetReport", "event": str(header.get("event", "JavaScript API"))})
    return replace(seen, native=(), missing=tuple(gap for gap in seen.missing if gap.section == "node.javascriptHeap"))


def _same_namespace(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
    except OSError:
        return False


def hand_over(path: Path, pid: int, folder: str | None) -> None:
    """Put a report that the program asked for itself, by `process.report.writeReport()`, where it would be without us.

    That is its working directory, under the name that Node gives by default. Not where the file is another user's:
    whose reports they are decides where they may be written.
    """
    try:
        found = path.lstat()
        content = _content(path)
        if folder is None or content is None or found.st_uid != os.geteuid():
            return
        moment = datetime.fromtimestamp(found.st_mtime).strftime("%Y%m%d.%H%M%S")
        with (Path(folder) / f"report.{moment}.{pid}.0.001.json").open("xb") as file:
            file.write(content)
    except OSError:
        return  # the folder is gone, is not to be written, or has one


def aborting(stderr_tail: str | None) -> NodeSeen | None:
    """What Node, since 20, prints before it aborts: its JavaScript frames; None where it has not."""
    found = list(_ABORTED.finditer(stderr_tail or ""))
    lines = found[-1]["lines"].splitlines() if found else []
    frames = tuple(frame for line in lines if (frame := _frame(line.partition(": ")[2])) is not None)
    return NodeSeen(event="Abort", trigger="Abort", javascript=frames) if frames else None


def _content(path: Path) -> bytes | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  no path any more
        found = os.fstat(descriptor)
        return file.read(MAX_BYTES) if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_BYTES else None


def _unread(reason: str) -> NodeSeen:
    return NodeSeen(missing=(Missing("node", reason),))


def _seen(written: Any, header: Mapping[str, Any]) -> NodeSeen:
    natives = [entry for entry in _list(written, "nativeStack") if isinstance(entry, dict)]
    exception = _exception(_mapping(written, "javascriptStack")) if header["trigger"] == "Exception" else None
    version = header.get("reportVersion")
    return NodeSeen(
        event=str(header.get("event", "")),
        trigger=str(header["trigger"]),
        report_version=version if isinstance(version, int) else None,
        version=named[1] if (named := _VERSION.fullmatch(str(header.get("nodejsVersion")))) else "",
        exception=exception,
        rejected=exception is not None and _rejected(exception, natives, header),
        native=tuple(_native(entry) for entry in natives[_after_reporting(natives) :]),
        heap=_mapping(written, "javascriptHeap"),
        resource_usage=_mapping(written, "resourceUsage"),
        libuv=tuple(_list(written, "libuv")),
        workers=len(_list(written, "workers")),
        missing=tuple(_lacking(written)),
    )


def _of_child(written: Any, header: Mapping[str, Any]) -> str:
    said = _mapping(written, "javascriptStack").get("message") if header["trigger"] == "Exception" else None
    first = str(said or header.get("event")).partition("\n")[0]
    return (
        f"Node's report of pid {header.get('processId')} of this instance, of {header.get('dumpEventTime')}: {first}"
    )[:_LONGEST_TEXT]


def _rejected(exception: ExceptionSeen, natives: list[dict[str, Any]], header: Mapping[str, Any]) -> bool:
    named = _VERSION.fullmatch(str(header.get("nodejsVersion")))
    if named is None or int(named["major"]) < _REJECTIONS_END:
        return False
    if any(frame.function == "ModuleJob.run" for frame in exception.frames):
        return False  # a module that throws is a rejected promise too, but no reader would call it so
    stack = [str(entry.get("symbol")).removesuffix("[node]").strip() for entry in natives]
    caller = next((below for above, below in pairwise(stack) if above.startswith(_TRIGGERED)), "none")
    return not caller or caller.startswith(_BY_JAVASCRIPT)


def _lacking(written: Any) -> Iterator[Missing]:
    for section, kind in (("javascriptStack", dict), ("javascriptHeap", dict), ("nativeStack", list)):
        if not isinstance(written.get(section), kind):
            yield Missing(f"node.{section}", "Node's own report does not have it")


def _exception(stack: Mapping[str, Any]) -> ExceptionSeen:
    """Node cuts `stack` at its newlines: the message's further lines stand before the first frame."""
    lines = [str(line) for line in _list(stack, "stack")]
    first = next((number for number, line in enumerate(lines) if line.startswith("at ")), len(lines))
    # After a line that does not start so come frames of another stack, such as the one that emitted an 'error' event.
    calls = list(takewhile(lambda line: line.startswith("at "), lines[first:]))
    frames = tuple(frame for call in calls if (frame := _frame(call.removeprefix("at "))) is not None)
    message = "\n".join([str(stack.get("message", "")), *lines[:first]])
    excerpt = _EXCERPT.match(message)
    if excerpt:
        message = message[excerpt.end() :]
    found = _TYPED.fullmatch(message)
    if found is None or (found["message"] is None and not calls):
        return ExceptionSeen("uncaught", None, message, frames)  # any value may be thrown; this one has no type to show
    if excerpt and found["type"] == "SyntaxError":  # the one that is nowhere on the stack
        frames = (Frame("<module>", excerpt["file"], int(excerpt["line"]), language="javascript"), *frames)
    properties = _mapping(stack, "errorProperties")
    notes = tuple(f"{name}: {properties[name]}" for name in _TOLD if name in properties)
    return ExceptionSeen(found["type"], None, found["message"] or "", frames, notes=notes)


def _frame(call: str) -> Frame | None:
    """`pay (/app/a.js:1:29)`, `async file:///app/a.mjs:1:7` or `Array.map (<anonymous>)`, as V8 writes a call site."""
    call = call.strip()[:_LONGEST_TEXT].removeprefix("async ")
    function, _, place = call.removesuffix(")").partition(" (") if call.endswith(")") else ("", "", call)
    found = _PLACE.fullmatch(place)
    if found is None or not found["file"]:
        return None
    file, line = found["file"], found["line"]
    if file.startswith("file://"):
        file = unquote(file.removeprefix("file://"))
    elif file.endswith(".js") and file[0] != "/" and "://" not in file and not file.startswith("node:"):
        file = f"node:{file.removesuffix('.js')}"  # as Node names its own since 16
    return Frame(function or "<anonymous>", file=file, line=int(line) if line else None, language="javascript")


def _after_reporting(natives: list[dict[str, Any]]) -> int:
    """Where the stack begins behind the frames that write the report."""
    return max((n + 1 for n, entry in enumerate(natives) if _REPORTING in str(entry.get("symbol"))), default=0)


def _native(entry: Mapping[str, Any]) -> Frame:
    symbol = str(entry.get("symbol", ""))[:_LONGEST_TEXT]
    found = _SYMBOL.fullmatch(symbol)
    function, module = (found["function"].strip(), found["module"]) if found else (symbol, None)
    return Frame(function or str(entry.get("pc", "?")), module=module, language="native")


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _list(value: Any, name: str) -> list[Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner[:_LONGEST] if isinstance(inner, list) else []
