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


def _lengths(one: Profile) -> Profile:
    """The profile with its lengths alone, as the reader of traces makes it."""
    return replace(one, sample_types=one.sample_types[1:], values=one.values[1:])
