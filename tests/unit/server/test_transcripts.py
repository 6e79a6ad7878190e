"""Transcripts on the page: readable, bounded, and whatever somebody uploads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from diag_server.errors import BadReport
from diag_server.transcripts import EVENTS_LIMIT, PLAYED_LIMIT, TEXT_LIMIT, transcript_view


def cast(*events: Any, **header: Any) -> bytes:
    """An asciicast with these events."""
    lines = [{"version": 2, "width": 100, "height": 30, "command": "id", **header}, *events]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_text_is_what_was_to_be_seen() -> None:
    """Without colours, titles, progress that was overwritten, and characters that were deleted."""
    shown = transcript_view(
        cast(
            [0.5, "o", "\x1b[31mred\x1b[0m\r\n"],
            [0.6, "o", "10 %\r50 %\r100 %\r\n"],
            [0.7, "o", "\x1b]0;title\x07lz\bs\r\n"],
            [0.8, "r", "120x40"],
            [1.5, "i", "typed"],
        )
    )
    assert shown.text == "red\n100 %\nls\n"
    assert (shown.columns, shown.rows, shown.command, shown.lines) == (100, 30, "id", 3)
    assert [event[:2] for event in shown.events] == [(0.5, "o"), (0.6, "o"), (0.7, "o"), (0.8, "r")]
    assert (shown.seconds, shown.cut) == (0.8, False)


@pytest.mark.parametrize("data", [b"", b"{}", b"[2]", b'{"version": 1}', b"\xff\xfe", b'{"version": 2'])
def test_what_is_no_transcript(data: bytes) -> None:
    """It is refused, not shown."""
    with pytest.raises(BadReport):
        transcript_view(data)


@pytest.mark.parametrize(
    "event", [{}, [], [1], ["1", "o", "x"], [1, "o", 3], [True, "o", "x"], [1, "x", "x"], [1, "o", "x", 2], None, "o"]
)
def test_events_that_are_none_are_left_out(event: Any) -> None:
    """The others are shown."""
    shown = transcript_view(cast([0, "o", "before\r\n"], event, [2, "o", "after"]) + b'[3, "o", "cut o')
    assert shown.text == "before\nafter"


def test_numbers_are_bounded() -> None:
    """Times never go back or away; sizes are those of a screen."""
    shown = transcript_view(
        cast([5, "o", "a"], [-3, "o", "b"], [1e300, "o", "c"], [7, "o", "d"], width=10**9, height=-4)
    )
    assert [event[0] for event in shown.events] == [5.0, 5.0, 604800.0, 604800.0]
    assert (shown.columns, shown.rows) == (400, 1)


def test_much_is_cut() -> None:
    """What is too much to play is shown as text, what is too much for a page is cut, and that is said."""
    many = transcript_view(cast(*([0, "o", "x\r\n"] for _ in range(EVENTS_LIMIT + 5))))
    assert (many.lines, many.cut) == (EVENTS_LIMIT, True)
    large = transcript_view(cast([0, "o", "y" * (max(PLAYED_LIMIT, TEXT_LIMIT) + 9)]))
    assert (large.events, len(large.text), large.cut) == ([], TEXT_LIMIT, True)
