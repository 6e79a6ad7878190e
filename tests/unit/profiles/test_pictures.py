"""What pictures are made of: the top of the tree of calls, and samples over time."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from profiled import MAIN, WORKER, profile, profiles

from diag.profiles import buckets, icicle
from diag.profiles.model import REQUEST_ID, Label, Profile


def drawn(*ones: Profile, **limits: float) -> list[tuple[int, str, float, float]]:
    """(depth, name, start, width) of each cell."""
    cells = icicle.cells([(one, 1) for one in ones], **limits)  # type: ignore[arg-type]
    return [(one.depth, one.function.name, round(one.start, 6), round(one.width, 6)) for one in cells]


def test_children_stand_below_their_callers() -> None:
    """Each function stands below its caller, as wide as its share, siblings by name."""
    one = profile(("main;work", 6), ("main;flask.run", 2), ("main", 2))

    assert drawn(one) == [(0, "main", 0.0, 1.0), (1, "run", 0.0, 0.2), (1, "work", 0.2, 0.6)]
    assert [cell.in_app for cell in icicle.cells([(one, 1)])] == [True, False, True]


def test_two_profiles_share_one_picture() -> None:
    """A width is the mean of both shares, and a function that only one of them has stands there too."""
    before, after = profile(("main;old", 5), ("main;same", 5)), profile(("main;same", 20))

    cells = {cell.function.name: cell for cell in icicle.cells([(before, 1), (after, 1)])}

    assert cells["old"].shares == (0.5, 0.0) and cells["old"].width == 0.25
    assert cells["same"].shares == (0.5, 1.0) and cells["same"].start == 0.25


def test_what_is_too_small_is_left_out() -> None:
    """Narrow cells, deep ones and those beyond the limit are not drawn; those beside them stay in their places."""
    one = profile(("main;a", 1), ("main;b", 999))

    assert drawn(one, least_share=0.01) == [(0, "main", 0.0, 1.0), (1, "b", 0.001, 0.999)]
    assert len(drawn(one, most=2)) == 2
    assert max(depth for depth, *_ in drawn(profile((";".join("f" * 500), 1)))) == icicle.DEEPEST - 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(profiles())
def test_any_profile_can_be_drawn(one: Profile) -> None:
    """Whatever its values are, cells lie inside their parents' row and nothing fails."""
    for cell in icicle.cells([(one, 0)]):
        assert cell.start >= 0 and cell.start + cell.width <= 1.000001


def test_samples_fall_into_their_buckets() -> None:
    """Each thread has its values by moment, the busiest first."""
    one = profile(("a", 1, WORKER, 0), ("a", 2, MAIN, 50), ("a", 3, MAIN, 99), duration_ns=99)

    line = buckets.timeline(one, 1, buckets=10)

    assert line is not None
    assert [(thread.name, counts) for thread, counts in line.threads] == [
        ("MainThread", [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]),
        ("worker", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]


def test_requests_last_from_their_first_to_their_last_sample() -> None:
    """A request is seen on its thread between two moments."""
    labels = [*MAIN, Label(REQUEST_ID, "r-1")]
    one = profile(("a", 1, labels, 25), ("a", 1, MAIN, 30), ("a", 1, labels, 75), duration_ns=99)

    line = buckets.timeline(one, 1)

    assert line is not None
    assert [(request, thread.name, *span) for request, thread, *span in line.requests] == [
        ("r-1", "MainThread", 0.25, 0.75)
    ]


def test_without_moments_there_is_no_time_line() -> None:
    """A profile that does not know when its samples were taken has none."""
    assert buckets.timeline(profile(("a", 1)), 1) is None


@pytest.mark.parametrize("moments", [[-(1 << 63) + 1, (1 << 63) - 1], [0, 0], [-5, -5]])
def test_odd_moments_fall_into_a_bucket(moments: list[int]) -> None:
    """Moments from outside may be anything that 64 bits hold."""
    one = replace(profile(("a", 1, MAIN, 1), ("a", 1, MAIN, 2)), times=array("q", moments))

    line = buckets.timeline(one, 1)

    assert line is not None and sum(line.threads[0][1]) == 2
