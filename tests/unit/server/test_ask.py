"""What a query string asks for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from diag_server.ask import filter_of, limit_of, moment
from diag_server.errors import BadRequest

from diag.model import now, parse_stamp


def test_spans_count_back_from_now() -> None:
    """`24h` is a day ago."""
    found = parse_stamp(moment("since", "24h"))

    assert timedelta(hours=23, minutes=59) < now() - found < timedelta(hours=24, minutes=1)


@pytest.mark.parametrize(
    "value", ["2025-03-01T10:00:00+02:00", "2025-03-01T10:00:00 02:00", "2025-03-01T08:00:00Z", "2025-03-01T08:00:00"]
)
def test_times_are_read_in_any_zone(value: str) -> None:
    """A time means the same however its zone is written; a lost `+` is put back."""
    assert moment("since", value) == "2025-03-01T08:00:00.000+00:00"


@pytest.mark.parametrize("value", ["yesterday", "5y", "-1h", "999999w", "2025-13-01"])
def test_what_is_no_time_is_refused(value: str) -> None:
    """A mistyped time is a sentence, not an empty list."""
    with pytest.raises(BadRequest):
        moment("since", value)


def test_unknown_arguments_are_passed_over() -> None:
    """Only the filter's own names are read."""
    found = filter_of({"kind": " crash ", "_external": "1", "q": "x" * 900})

    assert found.kind == "crash"
    assert len(found.q) == 500


@pytest.mark.parametrize("value", ["0", "-1", "501", "x", "", "٣"])
def test_a_limit_that_cannot_be_is_refused(value: str) -> None:
    """Limits go from 1 to the most that is answered."""
    with pytest.raises(BadRequest):
        limit_of({"limit": value}, 50)
