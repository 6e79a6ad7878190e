"""Stretches of time as samples: one for each tick of the clock that they were seen by."""

from __future__ import annotations

from array import array

from diag.profiles.builder import Builder
from diag.profiles.model import SAMPLES, Profile, SampleType


def ticks(profile: Profile, kind: SampleType, period_ns: int) -> Profile:
    """The profile of a tool that joins equal samples to stretches of nanoseconds, with its samples apart again.

    Each tick has its own moment, so that a stretch which lasts over several requests is parted between them. The clock
    ticks in the middle of each period, whenever the tool looked: where it came late and hurried then, a stretch that
    was seen briefly does not count as much as one that lasted. Counts come first, then `kind`, each tick worth
    `period_ns`.
    """
    builder = Builder([SAMPLES, kind], timed=True)
    frames = [builder.frame(frame) for frame in profile.frames]
    stacks = [builder.stack(tuple(map(frames.__getitem__, stack))) for stack in profile.stacks]
    labels = [builder.labels(one) for one in profile.label_sets]
    rows: tuple[array[int], array[int], array[int]] = (array("I"), array("I"), array("q"))
    moments = profile.times or array("q", bytes(8 * len(profile)))
    columns = zip(profile.stack_of, profile.labels_of, profile.values[0], moments, strict=True)
    for stack, tags, length, moment in columns:
        first = -((period_ns // 2 - moment) // period_ns) * period_ns + period_ns // 2
        seen = range(first, moment + length, period_ns)
        rows[0].extend([stacks[stack]] * len(seen))
        rows[1].extend([labels[tags]] * len(seen))
        rows[2].extend(seen)
    counts = array("q", [1]) * len(rows[0])
    builder.extend(rows[0], rows[1], [counts, array("q", [period_ns]) * len(counts)], rows[2])
    return builder.build(
        mappings=profile.mappings,
        recording=profile.recording,
        start_ns=profile.start_ns,
        duration_ns=profile.duration_ns,
        period_type=kind,
        period=period_ns,
        default_type=kind.name,
        comments=profile.comments,
    )
