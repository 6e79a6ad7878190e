"""The lines of source around a frame's, read from the application's files while they are at hand.

A file's name is what the program says it is, so it may be any: only what looks like source is read, and only where the
program itself could read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from diag.evidence import Evidence, ProcessFacts
from diag.report.foreign import opened
from diag.report.values import Gaps, Scrub, clip

FRAMES_SHOWN = 8
MOST_LINES = 20  # on either side
_SUFFIXES = (".py", ".pyx", ".js", ".mjs", ".cjs", ".ts", ".go")
_FILE_LIMIT = 4 << 20
_LINE_LIMIT = 200
_WINDOW = 80  # a secret may span lines, so that more are redacted together than are shown
_TEXT_LIMIT = 1 << 18


@dataclass(frozen=True, slots=True)
class _Source:
    lines: list[str]
    changed: bool


@dataclass(slots=True)
class _Files:
    """The files of one process, each read once."""

    process: ProcessFacts
    known: dict[str, _Source | None] = field(default_factory=dict)

    def read(self, path: str) -> _Source | None:
        """The file's lines, and whether it was changed after the process had started; None where it is not at hand."""
        if path not in self.known:
            self.known[path] = _read(path, self.process)
        return self.known[path]


def add_sources(report: dict[str, Any], evidence: Evidence, lines: int, scrub: Scrub, gaps: Gaps) -> None:
    """Give the innermost frames of the application a `source`: `{first, lines, changed}`.

    Of an exception and those that it came from, or else of the thread that a reader looks at first. The innermost of
    each has so many `lines` on either side, the others their own line.
    """
    process = evidence.process
    wanted = list(_wanted(report))[:FRAMES_SHOWN]
    if not lines or not wanted or process is None:
        return
    found = 0
    # Who may read more than the program could be led to any file by a name.
    if os.geteuid() == process.uid:
        files = _Files(process)
        for frame, innermost in wanted:
            source = files.read(frame["file"])
            around = min(lines, MOST_LINES) if innermost else 0
            shown = _shown(source, frame["line"], around, scrub) if source else None
            if shown is not None:
                frame["source"] = shown
                found += 1
    if not found:
        gaps.add("source", "the files of the application could not be read by this agent, or are gone")


def _wanted(report: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Frames, and whether each is the innermost of its stack."""
    holders: Iterable[dict[str, Any]] = _chain(report["exception"])
    if report["exception"] is None:
        # The first is the one that crashed, or the main thread.
        holders = report["threads"][:1]
    for holder in holders:
        innermost = True
        for frame in holder["frames"]:
            if frame["inApp"] and frame["line"] and (frame["file"] or "").endswith(_SUFFIXES):
                yield frame, innermost
                innermost = False


def _chain(exception: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    for _ in range(FRAMES_SHOWN):
        if exception is None:
            return
        yield exception
        exception = exception.get("cause") or exception.get("context")


def _read(path: str, process: ProcessFacts) -> _Source | None:
    try:
        with opened(path, process.root) as file:
            if file is None:
                return None
            found = os.fstat(file.fileno())
            if found.st_size > _FILE_LIMIT:
                return None
            text = file.read(_FILE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return None
    return _Source(text.splitlines(), found.st_mtime > process.start_time.timestamp())


def _shown(source: _Source, line: int, around: int, scrub: Scrub) -> dict[str, Any] | None:
    if line > len(source.lines):
        return None
    start, end = max(0, line - 1 - _WINDOW), line + _WINDOW
    window = [clip(one, 4 * _LINE_LIMIT) for one in source.lines[start:end]]
    cleaned = scrub.text("\n".join(window), _TEXT_LIMIT).split("\n")
    if len(cleaned) != len(window):
        return None  # a secret of several lines went: nobody can tell which lines these are
    first = max(0, line - 1 - around)
    shown = [clip(one, _LINE_LIMIT) for one in cleaned[first - start : line + around - start]]
    return {"first": first + 1, "lines": shown, "changed": source.changed}
