"""A profile's summary and pictures as its page shows them, whatever they say."""

from __future__ import annotations

from typing import Any

import captured
import pytest
from diag_server import pictures, profile_work, shown
from diag_server.profile_page import amount, profile_view
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diag.profiles.summary import summary

SHOP = captured.shop()
TOLD = summary(SHOP)
DRAWN = profile_work.json.loads(profile_work.json.dumps(profile_work.drawn(SHOP)))
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, -1, 10**400, -(10**400), 1e308, float("inf"), "<script>", "x" * 50_000])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted({*TOLD, *DRAWN})), inner),
    max_leaves=8,
)


def test_the_summary_becomes_rows() -> None:
    """Functions, modules, threads and requests are rows with shares; application code is marked."""
    view = profile_view(TOLD, DRAWN)

    assert [row.name for row in view.by_self[:3]] == ["price", "checkout", "total"]
    assert view.by_self[0].in_app and not view.by_total[0].in_app
    assert {row.name for row in view.requests} == set(captured.REQUESTS)
    assert [row.place for row in view.threads] == ["pid 4711, thread 4712", "pid 4711, thread 4713"]
    taken = {fact.name: fact.value for fact in view.taken}
    assert (taken["Missing"], taken["Mode"], taken["Rate"]) == ("3 lost, 2 invalid (0.5 %)", "cpu", "100 Hz")


def test_the_pictures_fit_their_frames() -> None:
    """Boxes and stretches lie within the width, and each thread has its line."""
    view = profile_view(TOLD, DRAWN)

    assert view.icicle is not None and view.timeline is not None
    for box in view.icicle.boxes:
        assert float(box.x[:-1]) + float(box.width[:-1]) <= 100.01 and box.y < view.icicle.height
    assert len(view.timeline.lines) == 2
    assert {one.request_id for one in view.timeline.requests} == set(captured.REQUESTS)


def test_a_change_is_told_in_words_too() -> None:
    """Boxes of two profiles say by a sign and a number what their colour says."""
    cells = [
        [0, 0, 1, "a", "", True, [0.2, 0.5]],
        [0, 0, 1, "b", "", True, [0.5, 0.499]],
        [0, 0, 1, "c", "", True, [0.5, 0.49]],
    ]

    found = pictures.icicle(cells)

    assert found is not None
    assert [box.kind for box in found.boxes] == ["grew much", "same", "shrank some"]
    assert [shown.points(box.change) for box in found.boxes] == ["▲ +30.0", "▼ −0.1", "▼ −1.0"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, HOSTILE)
def test_nothing_in_a_summary_breaks_the_page(told: Any, drawn: Any) -> None:
    """Values of any type, size and depth in either are left out or bounded."""
    for one in (told, TOLD | dict.fromkeys(("by_self", "threads", "requests", "facts", "recording"), told)):
        view = profile_view(one if isinstance(one, dict) else {}, drawn if isinstance(drawn, dict) else {})
        assert all(len(row.name) < 1000 and -1 <= row.own <= 1 for row in (*view.by_self, *view.modules, *view.threads))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(HOSTILE | st.lists(HOSTILE, min_size=7, max_size=7), max_size=5), HOSTILE)
def test_nothing_in_a_picture_breaks_the_page(cells: Any, threads: Any) -> None:
    """Cells and lines of any kind become boxes within the picture, or none."""
    found = pictures.icicle(cells)
    for box in found.boxes if found else ():
        assert 0 <= float(box.x[:-1]) <= 100 and 0 <= float(box.width[:-1]) <= 100
    pictures.timeline({"threads": threads, "requests": cells, "start_s": threads, "end_s": 1e308})
    pictures.timeline({"threads": [[[1], [threads, 1]]], "requests": [["r", threads, 0, threads]]})


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2_500_000_000, "nanoseconds", "2.5 s"),
        (2048, "bytes", "2.0 KiB"),
        (12345, "count", "12,345"),
        ("x", "count", ""),
    ],
)
def test_amounts_have_their_unit(value: Any, unit: str, text: str) -> None:
    """A value reads as what its type says."""
    assert amount(value, unit) == text
