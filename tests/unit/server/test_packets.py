"""A summary of packets on its way to the page: bounded, typed, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from diag_server.packets import EXCHANGES_LIMIT, packets_view
from hypothesis import given
from hypothesis import strategies as st

EXCHANGE = {"protocol": "http", "what": "GET /", "status": "500", "failed": True, "latency_s": 0.5, "started": 101.0}
SUMMARY: dict[str, Any] = {
    "payload": "full",
    "packets": 7,
    "dropped": 2,
    "shared": True,
    "began": 100.0,
    "slowest": [EXCHANGE],
    "failed": [EXCHANGE],
    "named": [],
    "events": [{"event": "refused", "by": "a", "client": "b", "server": "a", "count": 3}],
    "event_counts": {"refused": 3},
    "protocols": [{"name": "http", "count": 1, "asked": [{"what": "GET /", "count": 1}]}],
    "conversations": [{"client": "b", "server": "a", "up": {"packets": 1, "bytes": 2}, "first": 100.5}],
}


def test_a_summary_becomes_rows() -> None:
    """Times count from the first packet, events have words, and what a reader must know is a warning."""
    view = packets_view(SUMMARY)

    assert (view.slowest[0].what, view.slowest[0].at_s) == ("GET /", 1.0)
    assert view.counts == [("connect refused", 3)]
    assert view.talks[0].up_bytes == 2
    assert len(view.warnings) == 3


def test_more_than_fits_is_cut() -> None:
    """A summary of a hundred thousand rows makes a page of hundreds."""
    view = packets_view({"slowest": [EXCHANGE] * 100_000, "conversations": [{}] * 100_000})

    assert len(view.slowest) == EXCHANGES_LIMIT
    assert len(view.talks) <= 300


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*SUMMARY, "filter", "snaplen", "duration_s"]), ANYTHING)
def test_a_summary_that_lies_is_shown(key: str, wrong: Any) -> None:
    """Any value in any place becomes a view."""
    packets_view({**SUMMARY, key: wrong})


@pytest.mark.parametrize("where", ["slowest", "events", "protocols", "conversations"])
@given(wrong=ANYTHING)
def test_rows_that_lie_are_shown(where: str, wrong: Any) -> None:
    """Also inside of rows."""
    row = SUMMARY[where][0]
    for key in row:
        packets_view({**SUMMARY, where: [{**row, key: wrong}, wrong]})


def test_it_is_json() -> None:
    """The example above is one that a file can hold."""
    assert json.loads(json.dumps(SUMMARY)) == SUMMARY
