"""Questions that verdicts, titles, fingerprints and pages ask of a report: which thread, which frame, which request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from diag.report.stacks import leading_thread

Json = Mapping[str, Any]

_UNNAMED = re.compile(r"^0x[0-9a-f]+$|\+0x[0-9a-f]+$")

# How a process aborts itself: what stands above the function that decided to.
# fmt: off
ABORTING = frozenset(
    [
        "raise", "gsignal", "abort", "__abort", "fortify_fail", "__fortify_fail", "__stack_chk_fail",
        "__libc_message", "__libc_message_impl", "malloc_printerr", "__assert_fail", "__assert_fail_base", "__assert",
        "pthread_kill", "__pthread_kill", "__pthread_kill_internal", "__pthread_kill_implementation", "__GI_raise",
        "__GI_abort", "__GI___pthread_kill", "kill", "tgkill", "os_abort", "faulthandler_sigabrt",
        "__gnu_cxx::__verbose_terminate_handler", "std::terminate", "fatal_error", "fatal_error_exit",
        "Py_FatalError", "_Py_FatalErrorFunc", "_Py_FatalErrorFormat",
    ]
)
# fmt: on


def crashed_thread(report: Json) -> Json | None:
    """The thread a reader looks at first: the crashed one, or the one that does not get on, else the main thread."""
    hang = report.get("hang")  # older reports have none
    if hang and report["exit"]["reason"] == "alive":
        stuck = next((one for one in report["threads"] if one["threadId"] == hang["threadId"]), None)
        if stuck is not None:
            return dict(stuck)
    return leading_thread(report["threads"], report["header"]["processId"])


def telling_frames(report: Json) -> list[Json]:
    """The frames that tell what happened, innermost first: the exception's, else the leading thread's."""
    if report["exception"] is not None and report["trigger"] == "exception":
        return list(report["exception"]["frames"])
    thread = crashed_thread(report)
    return list(thread["frames"]) if thread else []


def same_stack(one: Sequence[Json], other: Sequence[Json]) -> bool:
    """Whether these are the same frames, whatever else is known of them."""
    return [_site(frame) for frame in one] == [_site(frame) for frame in other]


def _site(frame: Json) -> tuple[Any, ...]:
    return frame["function"], frame["file"], frame["line"], frame.get("address")


def app_frame(frames: Sequence[Json]) -> Json | None:
    """The innermost frame of the application; without one the innermost Python frame, then the innermost of all."""
    for wanted in (_is_app, _is_python, _is_any):
        found = next((frame for frame in frames if wanted(frame)), None)
        if found is not None:
            return found
    return None


def _is_app(frame: Json) -> bool:
    return bool(frame["inApp"])


def _is_python(frame: Json) -> bool:
    return bool(frame["language"] == "python")


def _is_any(_: Json) -> bool:
    return True


def native_frame(frames: Sequence[Json]) -> Json | None:
    """The native frame a fault happened in: the innermost, or the one that called abort()."""
    run = list(takewhile(lambda frame: frame["language"] == "native", frames))
    aborting = [index for index, frame in enumerate(run) if bare_name(frame["function"]) in ABORTING]
    if not aborting:
        return run[0] if run else None
    # Between abort() and the function that gave up stand libc's own steps, which it does not export.
    return next((frame for frame in run[aborting[-1] + 1 :] if not is_unnamed(frame)), None)


def is_unnamed(frame: Json) -> bool:
    """Whether only an address or an offset is known of this native frame."""
    return bool(_UNNAMED.search(frame["function"]))


def bare_name(function: str) -> str:
    """A native function without arguments, clone suffix and symbol version: `f` for `f(int) [clone .cold]`."""
    name = function.partition("(")[0].partition(" [clone")[0].partition("@")[0]
    stem, _, suffix = name.partition(".")
    return stem if stem and suffix.split(".")[0] in ("constprop", "part", "cold", "isra", "lto_priv", "llvm") else name


def place(frame: Json) -> str:
    """`view (app.py:20)`, or `strlen (libc.so.6)` for a native frame without a source line."""
    file = (frame["file"] or "").rpartition("/")[2]
    if file and frame["line"]:
        return f"{frame['function']} ({file}:{frame['line']})"
    library = file or (frame["module"] or "").rpartition("/")[2]
    return f"{frame['function']} ({library})" if library and library not in frame["function"] else frame["function"]


def request_of(report: Json) -> Json | None:
    """The request the capture belongs to, where that is certain: by its links, else by the crashing thread."""
    requests = [*report["requests"], *reversed(report["recent"]["requests"])]
    for link in report["links"]:
        for key in ("span_id", "request_id", "trace_id"):
            matches = [request for request in requests if link[key] and request[key] == link[key]]
            if matches:
                return dict(matches[0])
    thread = crashed_thread(report)
    if thread is None or not thread["crashed"]:
        return None
    served = [request for request in report["requests"] if request["thread_id"] == thread["threadId"]]
    # An event loop serves many requests on one thread: then nobody can tell which one it was.
    return served[0] if len(served) == 1 else None


def serving(report: Json) -> str:
    """` while serving GET /checkout (request 7f3a…)`, or an empty text where no request is known."""
    request = request_of(report)
    if request is not None:
        return f" while serving {describe(request)}"
    for link in report["links"]:
        named = _identity(link)
        if named:
            return f" while serving {named}"
    return ""


def describe(request: Json) -> str:
    """`GET /checkout (request 7f3a…)`."""
    words = " ".join(word for word in (request["method"], request["path"]) if word)
    named = _identity(request)
    if words and named:
        return f"{words} ({named})"
    return words or named or "a request"


def _identity(link: Json) -> str:
    if link["request_id"]:
        return f"request {link['request_id']}"
    return f"trace {link['trace_id']}" if link["trace_id"] else ""


def in_flight(report: Json, *, everywhere: bool = False) -> str:
    """`2 requests in flight, the oldest GET /slow for 3.2 s`, or nothing; `everywhere` counts the workers' too."""
    requests = list(report["requests"])
    for worker in report["workers"] if everywhere else ():
        requests += worker["requests"]
    if not requests:
        return ""
    oldest = max(requests, key=lambda request: request["age_s"])
    count = f"{len(requests)} request{'s' if len(requests) > 1 else ''}"
    of_these = "the oldest " if len(requests) > 1 else ""
    return f"{count} in flight, {of_these}{describe(oldest)} for {duration(oldest['age_s'])}"


def meanwhile(report: Json) -> str:
    """The request it died on where that is certain, else what was in flight."""
    named = serving(report)
    flying = in_flight(report)
    return named or (f", with {flying}" if flying else "")


# What is shown of a signal, by its key; and the columns of what is mapped around its address.
SIGNAL_FACTS = {
    "faultAddress": "fault address",
    "faultNear": "which is",
    "faultMapping": "mapped there",
    "instruction": "instruction",
    "trapNumber": "processor trap",
    "code": "code",
    "threadId": "thread",
    "sent": "sent by a program",
}
MAPPING_COLUMNS = {
    "start": "From",
    "end": "To",
    "permissions": "Rights",
    "path": "What is mapped there",
    "holds": "Holds",
}


def mib(value: float) -> str:
    """`1,234 MiB`."""
    return f"{value / 2**20:,.0f} MiB"


def size(value: float) -> str:
    """`1.2 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def duration(seconds: float) -> str:
    """`3.2 s`, `85 ms`, `4 min 12 s`, `3 h 5 min`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def chain(exception: Json | None) -> Iterator[Json]:
    """The exception and what it was explicitly raised from."""
    while exception is not None:
        yield exception
        exception = exception.get("cause")


def summary(exception: Json) -> str:
    """`KeyError: 'sku'`, one line of it."""
    lines = exception["message"].strip().splitlines()
    message = lines[0] if lines else ""
    if len(message) > 200:
        message = message[:199] + "…"
    return f"{exception['type']}: {message}" if message else str(exception["type"])
