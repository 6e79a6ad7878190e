"""Names for the functions of Python frames of which only file and line are known, from the source."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from diag.profiles.model import Frame, Profile
from diag.profiles.transform import merge
from diag.report.foreign import opened

_MOST_SOURCE_BYTES = 4 * 1024 * 1024
_DEEPEST = 1 << 30
# Its indentation, and the name that begins there; an empty line or a comment says nothing.
_LINE = re.compile(r"([ \t]*)(?=[^\s#])(?:(?:async[ \t]+)?(?:def|class)[ \t]+(\w+))?")


def named(profile: Profile, root: str) -> Profile:
    """The profile, whose frames without a function have the one that their line stands in.

    `root` is where the process's files are found. Where a file cannot be read, or is another one since, a frame is
    known by the name of its file.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for frame in profile.frames:
        if not frame.function:
            wanted[frame.file].add(frame.line)
    found = {(file, line): name for file in wanted for line, name in _names(file, wanted[file], root)}

    def better(frame: Frame) -> Frame:
        return frame if frame.function else replace(frame, function=found[frame.file, frame.line])

    return merge([replace(profile, frames=tuple(map(better, profile.frames)))])


def _names(file: str, lines: set[int], root: str) -> Iterable[tuple[int, str]]:
    with opened(file, root) as found:
        if found is None:
            return [(line, file.rpartition("/")[2] or "?") for line in lines]
        source = found.read(_MOST_SOURCE_BYTES).decode("utf-8", "replace")
    outline = Outline(source)
    return [(line, outline.enclosing(line)) for line in lines]


class Outline:
    """How far each line of a source is indented, and which function or class begins there."""

    def __init__(self, source: str) -> None:
        found = [_LINE.match(line) for line in source.split("\n")]
        self._lines = [(len(line[1].expandtabs()), line[2]) if line else None for line in found]

    def enclosing(self, line: int) -> str:
        """The innermost function or class that the line (from 1) stands in, by its indentation; `<module>` in none."""
        if not 1 <= line <= len(self._lines):
            return "?"  # the file is another one since
        own = self._lines[line - 1]
        below = own[0] if own else _DEEPEST
        for above in range(line - 2, -1, -1):
            found = self._lines[above]
            if found and found[0] < below:
                below, name = found
                if name:
                    return name
        return "<module>"
