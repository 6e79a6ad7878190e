"""Stretches of time as samples: one for each tick of the clock that they were seen by."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence

from diag.profiles.builder import Builder
from diag.profiles.model import SAMPLES, Labels, Profile, SampleType

Ran = Callable[[Labels, int, int], float | None]  # of the thread with these labels, between two moments of the profile


def ticks(profile: Profile, kind: SampleType, period_ns: int, ran: Ran | None = None) -> Profile:
    """The profile of a tool that joins equal samples to stretches of nanoseconds, with its samples apart again.

    Each tick has its own moment, so that a stretch which lasts over several requests is parted between them. The clock
    ticks in the middle of each period, whenever the tool looked: where it came late and hurried then, a stretch that
    was seen briefly does not count as much as one that lasted. Counts come first, then `kind`, each tick worth
    `period_ns`.

    A tool that looks at running threads only sees no end of a stretch where the thread goes to rest, and the stretch
    lasts until the thread is seen with another stack. So `ran` tells for how many nanoseconds it ran meanwhile, or None
    where nobody knows, and no more ticks than that count.
    """
    builder = Builder([SAMPLES, kind], timed=True)
    frames = [builder.frame(frame) for frame in profile.frames]
    stacks = [builder.stack(tuple(map(frames.__getitem__, stack))) for stack in profile.stacks]
    labels = [builder.labels(one) for one in profile.label_sets]
    rows: tuple[array[int], array[int], array[int]] = (array("I"), array("I"), array("q"))
    moments = profile.times or array("q", bytes(8 * len(profile)))
    running = _Running(ran, period_ns) if ran else None
    columns = zip(profile.stack_of, profile.labels_of, profile.values[0], moments, strict=True)
    for stack, tags, length, moment in columns:
        first = -((period_ns // 2 - moment) // period_ns) * period_ns + period_ns // 2
        seen: Sequence[int] = range(first, moment + length, period_ns)
        if running:
            seen = running.among(seen, profile.label_sets[tags], moment, moment + length)
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


class _Running:
    """Which ticks count of threads that rest now and then. What does not make a whole tick counts for the next one."""

    def __init__(self, ran: Ran, period_ns: int) -> None:
        self._ran = ran
        self._period_ns = period_ns
        self._left_ns: dict[Labels, float] = defaultdict(float)

    def among(self, seen: Sequence[int], labels: Labels, start_ns: int, end_ns: int) -> Sequence[int]:
        """Those of the ticks from `start_ns` to `end_ns` that count: the first ones, at which it was seen running."""
        ran_ns = self._ran(labels, start_ns, end_ns)
        if ran_ns is None:
            return seen
        known_ns = self._left_ns[labels] + ran_ns
        count = min(int(known_ns // self._period_ns), max(1, len(seen)))
        self._left_ns[labels] = min(known_ns - count * self._period_ns, self._period_ns)
        return seen[:count] if seen else [start_ns] * count
