"""Stretches of time, sampled anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from profiled import MAIN, profile

from diag.profiles.model import Profile, SampleType
from diag.profiles.ticks import ticks

CPU = SampleType("cpu", "nanoseconds")


@pytest.mark.parametrize(
    ("stretches", "counts"),
    [
        ([("a", 10, 0), ("b", 10, 10)], {"a": 1, "b": 1}),
        ([("a", 35, 0), ("b", 5, 35)], {"a": 3, "b": 1}),
        ([("a", 1, 4), ("b", 1, 5), ("c", 1, 6)], {"b": 1}),
        ([("a", 3, 0), ("b", 4, 3), ("a", 93, 7)], {"a": 9, "b": 1}),
    ],
)
def test_each_period_counts_once(stretches: list[tuple[str, int, int]], counts: dict[str, int]) -> None:
    """The stretch that lasts over the middle of a period has that period, however many were seen in it."""
    one = profile(*[(name, length, MAIN, moment) for name, length, moment in stretches])
    sampled = ticks(_lengths(one), CPU, 10)
    found: dict[str, int] = {}
    for index in range(len(sampled)):
        name = next(sampled.frames_of(index)).function
        found[name] = found.get(name, 0) + sampled.values[0][index]
    assert found == counts
    assert sampled.total(1) == 10 * sum(counts.values())


@pytest.mark.parametrize(
    ("stretches", "ran", "counts"),
    [
        ([("a", 100, 0)], [100], {"a": 10}),
        ([("a", 100, 0)], [32], {"a": 3}),
        ([("a", 100, 0)], [0], {}),
        ([("a", 100, 0)], [None], {"a": 10}),
        ([("a", 100, 0), ("b", 100, 100)], [5, 5], {"b": 1}),  # what makes no whole tick counts for the next one
        ([("a", 10, 0), ("b", 100, 10), ("c", 100, 110)], [100, 0, 0], {"a": 1, "b": 1}),  # and no more than one
        ([("a", 2, 0), ("b", 2, 2)], [8, 2], {"b": 1}),  # too short for the clock, but the processor's time is told
    ],
)
def test_a_thread_counts_for_as_long_as_it_ran(
    stretches: list[tuple[str, int, int]], ran: list[float | None], counts: dict[str, int]
) -> None:
    """A stretch goes on while its thread rests; of its ticks the first ones count, as many as the thread has run."""
    one = _lengths(profile(*[(name, length, MAIN, moment) for name, length, moment in stretches]))
    told = dict(zip([moment for _, _, moment in stretches], ran, strict=True))
    sampled = ticks(one, CPU, 10, lambda labels, start, end: told[start])
    found: dict[str, int] = {}
    for index in range(len(sampled)):
        name = next(sampled.frames_of(index)).function
        found[name] = found.get(name, 0) + 1
    assert found == counts


def test_the_ticks_that_count_are_the_first_ones() -> None:
    """When a stretch began it was seen to run; later it may have rested."""
    sampled = ticks(_lengths(profile(("a", 100, MAIN, 40))), CPU, 10, lambda labels, start, end: 20)
    assert list(sampled.times or ()) == [45, 55]


def _lengths(one: Profile) -> Profile:
    """The profile with its lengths alone, as the reader of traces makes it."""
    return replace(one, sample_types=one.sample_types[1:], values=one.values[1:])
