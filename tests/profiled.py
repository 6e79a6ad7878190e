"""Profiles for tests: any that may exist, and one that a test can work out by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from diag.model import Cost
from diag.profiles.builder import Builder
from diag.profiles.model import (
    NO_TIME,
    PID,
    SAMPLES,
    THREAD,
    THREAD_ID,
    Frame,
    Label,
    Mapping,
    Profile,
    Recording,
    SampleType,
)
from diag.profiles.transform import aggregate

CPU = SampleType("cpu", "nanoseconds")
COUNT = SAMPLES
MAIN = [Label(PID, 1), Label(THREAD_ID, 1), Label(THREAD, "MainThread")]
WORKER = [Label(PID, 1), Label(THREAD_ID, 2), Label(THREAD, "worker")]


def frame(name: str) -> Frame:
    """`work` in /srv/shop/app.py, `flask.run` in site-packages/flask.py."""
    package, _, function = name.rpartition(".")
    return Frame(function, f"/usr/lib/python3.11/site-packages/{package}.py" if package else "/srv/shop/app.py", 7)


def profile(
    *samples: tuple[str, int] | tuple[str, int, list[Label]] | tuple[str, int, list[Label], int], **header: Any
) -> Profile:
    """One sample of CPU time for each (`outer;inner`, value, labels, moment)."""
    builder = Builder([COUNT, CPU], timed=any(len(sample) > 3 for sample in samples))
    for names, value, *rest in samples:
        frames = tuple(builder.frame(frame(name)) for name in reversed(names.split(";")) if name)
        labels = builder.labels(rest[0] if rest else [])  # type: ignore[arg-type]
        moment = rest[1] if len(rest) > 1 else NO_TIME
        builder.add(builder.stack(frames), (1, value), labels, moment)  # type: ignore[arg-type]
    return builder.build(**header)


def rows(one: Profile) -> list[Any]:
    """Its samples without the numbers of the tables, in an order of their own."""
    kept = aggregate(one) if one.times is None else one
    found = [
        (
            tuple(kept.frames_of(index)),
            kept.label_sets[kept.labels_of[index]],
            tuple(column[index] for column in kept.values),
            kept.times[index] if kept.times is not None else NO_TIME,
        )
        for index in range(len(kept))
    ]
    return sorted(found, key=repr)


def header(one: Profile) -> dict[str, Any]:
    """What a profile says besides its samples."""
    names = [
        "sample_types",
        "recording",
        "start_ns",
        "duration_ns",
        "period_type",
        "period",
        "default_type",
        "comments",
    ]
    return {name: getattr(one, name) for name in names}


# Text as it stands in files: any character but lone surrogates, which no format can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["", "work", "main", "a;b", "x (y:3)", "ünï", "{}", "línea\n"])
INT64 = st.integers(-(1 << 63) + 1, (1 << 63) - 1)
SMALL = st.integers(0, 1 << 40)
MAPPINGS = st.builds(Mapping, SMALL, SMALL, SMALL, NAMES, TEXT, *[st.booleans()] * 4)
FRAMES = st.builds(Frame, NAMES, NAMES, st.integers(-5, 99999), st.integers(0, 999), NAMES, st.integers(0, 9))
PLACED = st.builds(
    Frame,
    *(NAMES, NAMES, st.integers(0, 99)),
    address=SMALL,
    mapping=st.none() | MAPPINGS,
    folded=st.booleans(),
)
LABELS = st.builds(Label, st.sampled_from([PID, THREAD_ID, THREAD, "request_id", "x"]), INT64 | TEXT, NAMES)
TYPES = st.sampled_from([COUNT, CPU, SampleType("inuse_space", "bytes"), SampleType("", "")])
RECORDINGS = st.builds(
    Recording,
    *(NAMES, NAMES, st.sampled_from(["", "cpu", "wall"]), st.sampled_from([0.0, 100.0, 99.5])),
    *(st.integers(0, 1 << 40), st.integers(0, 9)),
    st.builds(Cost, st.just(0.0), st.sampled_from([0.0, 1.25]), st.just(0.0)),
)


@st.composite
def profiles(draw: st.DrawFn, *, frames: st.SearchStrategy[Frame] = FRAMES | PLACED, timed: bool = False) -> Profile:
    """Any profile: what a builder can be given, with any header."""
    types = draw(st.lists(TYPES, min_size=1, max_size=3, unique=True))
    builder = Builder(types, timed=timed)
    some = draw(st.lists(frames, min_size=1, max_size=6))
    stacks = st.lists(st.sampled_from(some), max_size=5)
    for _ in range(draw(st.integers(0, 8))):
        stack = builder.stack(tuple(map(builder.frame, draw(stacks))))
        labels = builder.labels(draw(st.lists(LABELS, max_size=3)))
        values = [draw(st.integers(-(1 << 55), 1 << 55)) for _ in types]
        builder.add(stack, values, labels, draw(INT64) if timed else NO_TIME)
    return builder.build(
        recording=draw(RECORDINGS),
        start_ns=draw(SMALL),
        duration_ns=draw(SMALL),
        period_type=draw(st.none() | TYPES),
        period=draw(SMALL),
        default_type=types[0].name,
        comments=tuple(draw(st.lists(TEXT, max_size=2))),
    )
