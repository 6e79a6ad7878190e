"""Says of each sample which request it was taken in."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from diag.profiles.model import NO_TIME, PID, REQUEST_ID, THREAD_ID, TRACE_ID, Label, Labels, Profile, label


@dataclass(frozen=True, slots=True)
class Span:
    """A request on one thread, from `start_ns` to before `end_ns`, which count from 1970 in UTC.

    `thread_id` is the one that the profile's samples carry; without `pid` the thread may be of any process.
    """

    request_id: str
    trace_id: str | None
    thread_id: int
    start_ns: int
    end_ns: int
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class _Thread:
    """Which span is the innermost from each moment on, until the next."""

    moments: list[int]
    spans: list[Span | None]

    def at(self, moment: int) -> Span | None:
        index = bisect_right(self.moments, moment) - 1
        return self.spans[index] if index >= 0 else None


def attribute(profile: Profile, spans: Iterable[Span]) -> Profile:
    """The profile, whose samples carry `request_id` and `trace_id` where they were taken inside a span.

    Of spans inside each other the innermost counts. A sample without a moment or a thread belongs to no request.
    """
    if profile.times is None:
        return profile
    threads = _threads(spans)
    sets: dict[Labels, int] = {labels: index for index, labels in enumerate(profile.label_sets)}
    owners = [_owner(labels, threads) for labels in profile.label_sets]
    known: dict[tuple[int, int], int] = {}
    labels_of = array("I")
    for tags, moment in zip(profile.labels_of, profile.times, strict=True):
        thread = owners[tags]
        span = thread.at(moment + profile.start_ns) if thread is not None and moment != NO_TIME else None
        if span is None:
            labels_of.append(tags)
            continue
        key = tags, id(span)
        if key not in known:
            known[key] = sets.setdefault(_labelled(profile.label_sets[tags], span), len(sets))
        labels_of.append(known[key])
    return replace(profile, labels_of=labels_of, label_sets=tuple(sets))


def _threads(spans: Iterable[Span]) -> dict[tuple[int | None, int], _Thread]:
    by_thread: dict[tuple[int | None, int], list[Span]] = defaultdict(list)
    for span in spans:
        by_thread[span.pid, span.thread_id].append(span)
    return {key: _swept(found) for key, found in by_thread.items()}


def _swept(spans: list[Span]) -> _Thread:
    """Goes from moment to moment, and keeps the spans that are open, the one that began last at the end."""
    begins = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
    moments = sorted({moment for span in spans for moment in (span.start_ns, span.end_ns)})
    thread = _Thread(moments, [])
    opened: list[Span] = []
    place = 0
    for moment in moments:
        while place < len(begins) and begins[place].start_ns <= moment:
            opened.append(begins[place])
            place += 1
        opened = [span for span in opened if span.end_ns > moment]
        thread.spans.append(opened[-1] if opened else None)
    return thread


def _owner(labels: Labels, threads: dict[tuple[int | None, int], _Thread]) -> _Thread | None:
    pid, thread_id = label(labels, PID), label(labels, THREAD_ID)
    if not isinstance(thread_id, int):
        return None
    exact = threads.get((pid, thread_id)) if isinstance(pid, int) else None
    return exact or threads.get((None, thread_id))


def _labelled(labels: Labels, span: Span) -> Labels:
    kept = tuple(one for one in labels if one.key not in (REQUEST_ID, TRACE_ID))
    found = (Label(REQUEST_ID, span.request_id), Label(TRACE_ID, span.trace_id or ""))
    return (*kept, *(one for one in found if one.value))
