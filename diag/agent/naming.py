"""What a person would call a process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, islice
from pathlib import PurePosixPath

from diag.collectors.proc import command_of

SHOWN_RUNTIMES = ("python", "node")


def program_of(pid: int, name: str) -> str:
    """The script or module of an interpreter, else the process's own name. Raises NoSuchInstance."""
    words = command_of(pid)
    if not words or " " in words[0] or not PurePosixPath(words[0]).name.startswith(SHOWN_RUNTIMES):
        return name
    return script_of(words) or name


def own_command(pid: int) -> str | None:
    """`diag agent` of a process that is one, and so on; None where it is no diag. Raises NoSuchInstance."""
    words = command_of(pid)
    if not words or script_of(words) != "diag":
        return None
    after = dropwhile(lambda word: PurePosixPath(word).name != "diag", words)
    told = next((word for word in islice(after, 1, None) if not word.startswith("-")), "")
    return f"diag {told}".rstrip()


def script_of(words: Sequence[str]) -> str | None:
    """`app.py` of `python -X dev app.py`, `http.server` of `python -m http.server`, `python -c` where there is none."""
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, None)
        if word in ("-c", "-e", "-p"):
            return f"{PurePosixPath(words[0]).name} {word}"
        if word in ("-X", "-W", "-r", "--require"):
            next(rest, None)
        elif not word.startswith("-"):
            return PurePosixPath(word).name or word
    return None
