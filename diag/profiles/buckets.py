"""When it happened: samples by equal stretches of time, of each thread, and from when to when each request was seen."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from diag.profiles.model import NO_TIME, PID, REQUEST_ID, THREAD, THREAD_ID, Profile, label

BUCKETS = 120
MOST_THREADS = 16
MOST_REQUESTS = 200


class Thread(NamedTuple):
    """What tells threads apart; None where it is not known."""

    pid: int | str | None
    thread_id: int | str | None
    name: int | str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """`counts` are values by bucket. Requests are (id, thread, first moment, last moment), in shares of the whole span.

    `start_s` and `end_s` are seconds after the start of the profile; `threads_left_out` had less than those shown.
    """

    start_s: float
    end_s: float
    threads: list[tuple[Thread, list[int]]]
    requests: list[tuple[str, Thread, float, float]]
    threads_left_out: int = 0
    requests_left_out: int = 0


def timeline(profile: Profile, column: int, buckets: int = BUCKETS) -> Timeline | None:
    """The timeline; None where no moments are known."""
    known = [moment for moment in profile.times or () if moment != NO_TIME]
    if not known or profile.times is None:
        return None
    start = min(0, min(known))
    end = max(max(known), profile.duration_ns) + 1
    span = end - start
    threads = [Thread(*(label(labels, key) for key in (PID, THREAD_ID, THREAD))) for labels in profile.label_sets]
    requests = [label(labels, REQUEST_ID) for labels in profile.label_sets]
    counts: dict[Thread, list[int]] = defaultdict(lambda: [0] * buckets)
    seen: dict[tuple[str, Thread], array[int]] = {}
    for tags, value, moment in zip(profile.labels_of, profile.values[column], profile.times, strict=True):
        if moment == NO_TIME:
            continue
        counts[threads[tags]][(moment - start) * buckets // span] += value
        request = requests[tags]
        if request is not None:
            first_last = seen.setdefault((str(request), threads[tags]), array("q", [moment, moment]))
            first_last[0], first_last[1] = min(first_last[0], moment), max(first_last[1], moment)
    busiest = sorted(counts.items(), key=lambda row: (-sum(row[1]), str(row[0])))
    spans = sorted(
        (
            (request, thread, (first - start) / span, (last - start) / span)
            for (request, thread), (first, last) in seen.items()
        ),
        key=lambda row: (row[2], row[0]),
    )
    return Timeline(
        start / 1e9,
        end / 1e9,
        busiest[:MOST_THREADS],
        spans[:MOST_REQUESTS],
        max(0, len(busiest) - MOST_THREADS),
        max(0, len(spans) - MOST_REQUESTS),
    )
