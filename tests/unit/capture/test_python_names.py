"""Functions are found by the line that stands in them."""

from __future__ import annotations

from pathlib import Path

from diag.capture.python_names import Outline, named
from diag.profiles.builder import Builder
from diag.profiles.model import SAMPLES, Frame

SOURCE = """import os
TABLE = [
    1,
]


class Shop:
    limit = 7

    async def sell(self,
                   what):
        if what:
            # nothing
            return [
              what]

        def inner(): return 1
        return inner
    after = 1


def close(): return [2]
last = 1
"""
INSIDE = {1: "<module>", 3: "<module>", 7: "<module>", 8: "Shop", 10: "Shop", 11: "sell", 13: "sell", 15: "sell"}


def test_the_innermost_function_that_a_line_stands_in() -> None:
    """By indentation, whatever stands between; a line that is not there is in nobody."""
    outline = Outline(SOURCE)

    assert {line: outline.enclosing(line) for line in INSIDE} == INSIDE
    assert [outline.enclosing(line) for line in (17, 18, 19, 22, 23)] == [
        "sell",
        "sell",
        "Shop",
        "<module>",
        "<module>",
    ]
    assert outline.enclosing(900) == "?"


def test_frames_are_named(tmp_path: Path) -> None:
    """Frames that have a function keep it; of files that are not there the name stands."""
    source = tmp_path / "shop.py"
    source.write_text(SOURCE)
    builder = Builder([SAMPLES])
    for frame in (Frame("", str(source), 15), Frame("kept", str(source), 15), Frame("", "/nowhere/gone.py", 3)):
        builder.add(builder.stack((builder.frame(frame),)), (1,))

    found = named(builder.build(), "/")

    assert {frame.function for frame in found.frames} == {"sell", "kept", "gone.py"}
