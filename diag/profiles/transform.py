"""New profiles from old ones: equal samples added up, several merged, some left out, a period put beside the counts."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from diag.model import Cost
from diag.profiles.builder import Builder
from diag.profiles.model import NO_TIME, SAMPLES, Frame, Labels, Profile, Recording, SampleType


def aggregate(profile: Profile) -> Profile:
    """The same profile with one sample for each stack and label set, values added up. Moments are given up."""
    rows: dict[int, int] = {}
    width = len(profile.label_sets)
    keys = [stack * width + tags for stack, tags in zip(profile.stack_of, profile.labels_of, strict=True)]
    places = [rows.setdefault(key, len(rows)) for key in keys]
    if len(rows) == len(keys) and profile.times is None:
        return profile
    sums = tuple(array("q", bytes(8 * len(rows))) for _ in profile.values)
    for column, values in zip(sums, profile.values, strict=True):
        for place, value in zip(places, values, strict=True):
            column[place] += value
    return replace(
        profile,
        stack_of=array("I", [key // width for key in rows]),
        labels_of=array("I", [key % width for key in rows]),
        values=sums,
        times=None,
    )


def select(
    profile: Profile,
    *,
    labels: Callable[[Labels], bool] | None = None,
    without: Callable[[Frame], bool] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Profile:
    """Only the samples whose labels are wanted, `without` any such frame, taken from `start_ns` to before `end_ns`.

    Moments count from the profile's start, as `times` does. A sample without a moment is in no window.
    """
    wanted = [labels is None or labels(one) for one in profile.label_sets]
    left_out = {number for number, frame in enumerate(profile.frames) if without and without(frame)}
    whole = [left_out.isdisjoint(stack) for stack in profile.stacks]
    pairs = zip(profile.labels_of, profile.stack_of, strict=True)
    kept: Iterable[int] = (index for index, (tags, stack) in enumerate(pairs) if wanted[tags] and whole[stack])
    if start_ns is not None or end_ns is not None:
        times = profile.times or array("q", [NO_TIME]) * len(profile)
        low = NO_TIME + 1 if start_ns is None else start_ns
        kept = (index for index in kept if low <= times[index] and (end_ns is None or times[index] < end_ns))
    return _rows(profile, list(kept))


def has(**wanted: str | int) -> Callable[[Labels], bool]:
    """For `select`: whether the labels have all these values, as in `has(pid=4711, thread="MainThread")`."""
    return lambda labels: wanted.items() <= {one.key: one.value for one in labels}.items()


def merge(profiles: Sequence[Profile]) -> Profile:
    """All samples of all profiles: of several processes, say. Types that only some have count as 0 in the others.

    Lost and invalid samples and costs are added up, moments are counted from the earliest start.
    """
    first = profiles[0]
    types = list(dict.fromkeys(kind for profile in profiles for kind in profile.sample_types))
    starts = [profile.start_ns for profile in profiles if profile.start_ns]
    start = min(starts, default=0)
    builder = Builder(types, timed=any(profile.times is not None for profile in profiles))
    for profile in profiles:
        _append(builder, profile, profile.start_ns - start if profile.start_ns else 0)
    ends = [profile.start_ns + profile.duration_ns for profile in profiles if profile.start_ns]
    longest = max(profile.duration_ns for profile in profiles)
    return builder.build(
        mappings=tuple(dict.fromkeys(mapping for profile in profiles for mapping in profile.mappings)),
        recording=_together([profile.recording for profile in profiles]),
        start_ns=start,
        duration_ns=max([longest, *(end - start for end in ends)]),
        period_type=first.period_type,
        period=first.period,
        default_type=first.default_type,
        comments=_comments(profiles),
        drop_frames=first.drop_frames,
        keep_frames=first.keep_frames,
        doc_url=first.doc_url,
    )


def only(profile: Profile, name: str, kind: SampleType) -> Profile:
    """The profile with its counts and this one of its sample types, which is called `kind` from now on."""
    wanted = profile.column(name)
    kept = [index for index, one in enumerate(profile.sample_types) if one == SAMPLES or index == wanted]
    return replace(
        profile,
        sample_types=tuple(kind if index == wanted else profile.sample_types[index] for index in kept),
        values=tuple(profile.values[index] for index in kept),
        period_type=kind if profile.period_type == profile.sample_types[wanted] else profile.period_type,
        default_type=kind.name,
    )


def shown_first(profile: Profile) -> Profile:
    """The profile with the sample type that is shown first, and no other."""
    column = profile.column()
    return replace(profile, sample_types=(profile.sample_types[column],), values=(profile.values[column],))


def with_period(profile: Profile, kind: SampleType, period: int) -> Profile:
    """A profile of counts with one more column, shown first: each sample stands for `period` of `kind`."""
    if kind in profile.sample_types:
        return profile
    counts = profile.values[0]
    return replace(
        profile,
        sample_types=(*profile.sample_types, kind),
        values=(*profile.values, array("q", [count * period for count in counts])),
        period_type=kind,
        period=period,
        default_type=kind.name,
    )


def _append(builder: Builder, profile: Profile, later_ns: int) -> None:
    frames = [builder.frame(frame) for frame in profile.frames]
    stacks = [builder.stack(tuple(map(frames.__getitem__, stack))) for stack in profile.stacks]
    labels = [builder.labels(one) for one in profile.label_sets]
    columns = dict(zip(profile.sample_types, profile.values, strict=True))
    zeros = array("q", bytes(8 * len(profile)))
    times = profile.times
    builder.extend(
        map(stacks.__getitem__, profile.stack_of),
        map(labels.__getitem__, profile.labels_of),
        [columns.get(kind, zeros) for kind in builder.sample_types],
        times and [moment if moment == NO_TIME else moment + later_ns for moment in times],
    )


def _comments(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """Each profile's comments, without those that one before had too."""
    found: list[str] = []
    for profile in profiles:
        known = set(found)
        found += [comment for comment in profile.comments if comment not in known]
    return tuple(found)


def _together(recordings: Sequence[Recording]) -> Recording:
    def same(texts: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(filter(None, texts)))

    rates = {one.rate_hz for one in recordings}
    costs = [one.cost for one in recordings]
    return Recording(
        engine=same(one.engine for one in recordings),
        version=same(one.version for one in recordings),
        mode=same(one.mode for one in recordings),
        rate_hz=rates.pop() if len(rates) == 1 else 0.0,
        lost=sum(one.lost for one in recordings),
        invalid=sum(one.invalid for one in recordings),
        cost=Cost(
            sum(one.pause_s for one in costs), sum(one.cpu_s for one in costs), max(one.duration_s for one in costs)
        ),
    )


def _rows(profile: Profile, kept: list[int]) -> Profile:
    if len(kept) == len(profile):
        return profile
    return replace(
        profile,
        stack_of=array("I", map(profile.stack_of.__getitem__, kept)),
        labels_of=array("I", map(profile.labels_of.__getitem__, kept)),
        values=tuple(array("q", map(column.__getitem__, kept)) for column in profile.values),
        times=profile.times and array("q", map(profile.times.__getitem__, kept)),
    )
