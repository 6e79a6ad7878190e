"""Every format, by name: which of them some content is in, and how it is read and written."""

from __future__ import annotations

import re
from collections.abc import Callable

from diag.errors import BadProfile, UsageError
from diag.profiles import (
    chrometrace,
    collapsed,
    html_write,
    memray,
    mojo,
    perf_script,
    pprof_read,
    pprof_write,
    speedscope_read,
    speedscope_write,
    tracemalloc,
    v8,
)
from diag.profiles.limits import unpacked
from diag.profiles.model import Profile

READERS: dict[str, Callable[[bytes], Profile]] = {
    "pprof": pprof_read.read,
    "speedscope": speedscope_read.read,
    "collapsed": collapsed.read,
    "mojo": mojo.read,
    "chrometrace": chrometrace.read,
    "perf": perf_script.read,
    "cpuprofile": v8.read_cpu,
    "heapprofile": v8.read_heap,
    "memray": memray.read,
    "tracemalloc": tracemalloc.read,
}
WRITERS: dict[str, Callable[[Profile], bytes]] = {
    "pprof": pprof_write.write,
    "speedscope": speedscope_write.write,
    "collapsed": collapsed.write,
    "html": html_write.write,
}
# How files of these formats are named, and served.
SUFFIXES = {"pprof": ".pb.gz", "speedscope": ".speedscope.json", "collapsed": ".collapsed.txt", "html": ".html"}
CONTENT_TYPES = {
    "pprof": "application/octet-stream",
    "speedscope": "application/json",
    "collapsed": "text/plain",
    "html": "application/octet-stream",  # a file to save: it never runs where it was fetched from
}

_KEYS = ((b'"timeDeltas"', "cpuprofile"), (b'"head"', "heapprofile"), (b'"traceEvents"', "chrometrace"))
_COLLAPSED = re.compile(rb"(?:#[^\n]*|[^\n]* -?\d+(?:,-?\d+)*|\s*)(?:\r?\n|$)")
_PERF = re.compile(rb"(?:#[^\n]*\n|\s*\n)*\S[^\n]*\s-?\d+(?:/-?\d+)?\s[^\n]*\d\.\d+:\s[^\n]*:")
_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1f]*")


def read(content: bytes, form: str | None = None) -> Profile:
    """The profile, in the named format or the one that it looks like. Raises BadProfile and UsageError."""
    named = form or detect(content)
    if named not in READERS:
        raise UsageError(f"There is no profile format {named!r}.", f"Known are {', '.join(READERS)}.")
    return READERS[named](content)


def write(profile: Profile, form: str) -> bytes:
    """The profile in this format. Raises UsageError."""
    if form not in WRITERS:
        raise UsageError(f"Profiles cannot be written as {form!r}.", f"Known are {', '.join(WRITERS)}.")
    return WRITERS[form](profile)


def detect(content: bytes) -> str:
    """The name of the format that this content is in. Raises BadProfile."""
    plain = unpacked(content)
    start = plain[:65536].lstrip()
    if plain.startswith(mojo.MAGIC):
        return "mojo"
    if start.startswith(b"{"):
        return next((form for key, form in _KEYS if key in plain), "speedscope")
    if start.startswith(b"["):
        return "chrometrace"
    if start.startswith(memray.HEADER.encode()):
        return "memray"
    if start and _TEXT.fullmatch(start):
        if _PERF.match(start):
            return "perf"
        if _COLLAPSED.match(start):
            return "collapsed"
    elif plain:
        return "pprof"
    raise BadProfile("This is in no profile format that diag knows." if plain else "This profile is empty.")
