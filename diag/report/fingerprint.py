"""Which reports are the same story: a hash that does not change with lines, addresses, pids or messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from diag.report.reading import Json, bare_name, crashed_thread, native_frame, telling_frames

# 1: without the cause and with the names of generated code as they were. Groups of two versions stand apart.
VERSION = 2

_FLAVOUR = re.compile(r"_(?:avx\w*|evex\w*|sse\w*|ssse\w*|erms|unaligned\w*|generic|rtm|sve|asimd|neon)$")
_LINE = re.compile(r":\d+(?=\)$)")
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_RELEASE = re.compile(r"[-.](?:\d+|so|cpython|abi3|x86_64|aarch64|linux|gnu|pypy\w*|cp\d+)(?=[-.]|$)")
# What differs from one run to the next in names that programs generate: addresses, ids, long numbers.
_HEX = r"(?<![A-Za-z0-9])(?=[a-f]*\d)[0-9a-f]{8,}(?![A-Za-z0-9])"
_CHANCE = re.compile(rf"0x[0-9a-fA-F]+|{_HEX}|\d{{5,}}")
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")
_TEMPORARY = re.compile(r"^tmp[a-z0-9_]{8}$")  # tempfile's own pattern
_NUMBERED = re.compile(r"[-_.]v?\d[\d.]*$")
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_PACKAGE_FILES = ("__init__", "__main__")
_COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


def fingerprint(report: Json) -> str:
    """`2:` and 16 hexadecimal digits; the number is the version of the rules.

    The verdict's cause is part of it, so that a group never holds two of them.
    """
    text = "\0".join(_parts(report))
    return f"{VERSION}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _parts(report: Json) -> Iterator[str]:
    exception, signal = report["exception"], report["signal"]
    yield str(report["verdict"]["cause"])
    if report["hang"] is not None and report["exit"]["reason"] == "alive":
        hang = report["hang"]
        yield from (hang["cause"], _LINE.sub("", hang["where"]) or str(report["instance"]["service"]))
    elif exception is not None and report["trigger"] == "exception":
        yield from ("exception", *_exception(exception))
    elif signal is not None:
        kind = "oom" if report["verdict"]["cause"] == "oom" else "sent" if signal["sent"] else "signal"
        yield from (kind, signal["name"], *_stack(report))
        if not report["threads"] or report["verdict"]["cause"] == "heap-limit":  # no stack tells who filled it
            yield str(report["instance"]["service"])
    elif report["trigger"] == "hang":
        yield from ("hang", *_stack(report))
    elif report["trigger"] == "api":
        yield from ("live", str(report["instance"]["service"]))
    else:
        ended = report["exit"]
        yield from ("exit", str(ended["status"]), str(report["instance"]["service"]))
        if ended["call"]:
            yield from (ended["call"], *_python(telling_frames(report)))


def _exception(exception: Json) -> Iterator[str]:
    yield exception["type"]
    # The parts of a group come in any order and number: which kinds there are is what stays.
    yield from sorted({part["type"] for part in exception.get("exceptions", ())})
    yield from _python(exception["frames"])


def _stack(report: Json) -> Iterator[str]:
    thread = crashed_thread(report)
    frames = thread["frames"] if thread and thread["crashed"] else []
    native = native_frame(frames)
    if native is not None:
        yield _native(native)
    yield from _python([frame for frame in frames if frame["language"] != "native"])


def _python(frames: list[Any]) -> Iterator[str]:
    own = [frame for frame in frames if frame["inApp"]] or frames
    # From the outside in, each function once: so a recursion is the same at any depth.
    yield from dict.fromkeys(_names(reversed(own)))


def _names(frames: Iterable[Json]) -> Iterator[str]:
    for frame in frames:
        if frame["language"] == "native":
            yield _native(frame)
            continue
        # Only since Python 3.11, and to some readers of a stack only, a function has its class's name before its own.
        function = frame["function"].rpartition(".")[2] if frame["language"] == "python" else frame["function"]
        if function not in _COMPREHENSIONS:  # frames of their own until Python 3.11, inlined since
            yield f"{_module(frame)}.{_steady(function)}"


def _module(frame: Json) -> str:
    # The file says the same on every way of reading a stack; module names are known to some ways only.
    folder, _, file = (frame["file"] or "").rpartition("/")
    file = _TEMPORARY.sub("tmp", file.removesuffix(".py"))
    if file in _PACKAGE_FILES:
        package = _TEMPORARY.sub("tmp", folder.rpartition("/")[2])
        return f"{_NUMBERED.sub('', _steady(package))}.{file}"
    return _steady(file) or (frame["module"] or "").rpartition(".")[2]


def _steady(name: str) -> str:
    """The name without what chance or a counter put into it; `<ipython-input-3-…>` and its like have nothing else."""
    name = _CHANCE.sub("", name)
    return _NUMBERS.sub("", name) if name.startswith("<") else name


def _native(frame: Json) -> str:
    library = _RELEASE.sub("", (frame["module"] or "").rpartition("/")[2])
    function = _RUST_HASH.sub("", _OFFSET.sub("", bare_name(frame["function"])))
    if function.startswith("0x"):
        function = "?"
    if _OFFSET.search(frame["function"]):
        return f"{library}!?"
    return f"{library}!{_FLAVOUR.sub('', function.lstrip('_'))}"
