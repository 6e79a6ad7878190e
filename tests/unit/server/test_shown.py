"""How values look."""

from __future__ import annotations

from datetime import timedelta

import pytest
from diag_server.shown import ago, seconds, short, size, spark, when

from diag.model import now


@pytest.mark.parametrize(
    ("passed_s", "text"),
    [(0, "now"), (59, "59 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (172800, "2 d ago")],
)
def test_times_are_relative_in_one_unit(passed_s: int, text: str) -> None:
    """How long ago, in the unit that reads best."""
    at = now()

    assert ago(at - timedelta(seconds=passed_s), at) == text


def test_the_exact_time_is_on_hover() -> None:
    """A time element carries the moment for programs and for the pointer."""
    shown = when("2025-03-01T08:00:00.250+00:00")

    assert 'title="2025-03-01 08:00:00.250 UTC"' in shown
    assert 'datetime="2025-03-01T08:00:00.250000+00:00"' in shown


def test_what_is_no_time_is_shown_escaped() -> None:
    """A text in the place of a time is shown as text."""
    assert when("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert when(None) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (None, "")]
)
def test_sizes_have_a_unit(value: int | None, text: str) -> None:
    """Bytes in the unit that reads best."""
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (0.00005, "50 µs"), (0.081, "81 ms"), (3.25, "3.2 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_durations_have_a_unit(value: float, text: str) -> None:
    """Seconds in the unit that reads best."""
    assert seconds(value) == text


def test_short_cuts_long_ids_only() -> None:
    """An id that fits is not cut for one letter."""
    assert (short("12345678"), short("1234567890")) == ("12345678", "12345678…")


def test_sparks_show_every_count() -> None:
    """A count of one beside a count of a thousand is still seen."""
    drawn = spark((0, 1, 1000))

    assert drawn.count("<rect") == 3
    assert 'aria-label="1001 in the last 3 hours"' in drawn
    assert 'height="0"' not in drawn.partition('x="4"')[2]
