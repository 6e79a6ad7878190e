"""Speedscope's JSON, in and out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import MAIN, WORKER, header, profile, profiles, rows

from diag.errors import BadProfile
from diag.profiles import speedscope_read, speedscope_write
from diag.profiles.model import Frame, Label, Profile, Recording, SampleType

# speedscope 1.25.0, dist/release/file-format-schema.json (MIT)
SCHEMA = json.loads((Path(__file__).parent / "speedscope-schema.json").read_text())
NAMED = st.builds(
    Frame,
    st.sampled_from(["work", "a;b", "ünï", "<module>"]),
    st.sampled_from(["", "/srv/app.py"]),
    st.integers(0, 9),
    st.integers(0, 9),
)


def document(one: Profile) -> Any:
    """What is written, parsed."""
    return json.loads(speedscope_write.write(one))


@given(st.booleans().flatmap(lambda timed: profiles(frames=NAMED, timed=timed)))
def test_what_the_format_holds_comes_back(one: Profile) -> None:
    """Names, files, lines, columns, values, units, labels, moments and the header come back as they were."""
    back = speedscope_read.read(speedscope_write.write(one))
    assert rows(back) == rows(one)
    assert header(back) == header(one)


@given(profiles(timed=True))
def test_every_file_follows_the_schema(one: Profile) -> None:
    """Speedscope's own schema accepts it, whatever the profile holds; no weight is negative."""
    written = document(one)
    jsonschema.validate(written, SCHEMA)
    for each in written["profiles"]:
        assert len(each["samples"]) == len(each["weights"])
        assert all(weight >= 0 for weight in each["weights"])


def test_each_thread_is_a_profile() -> None:
    """Threads and processes are told apart, outermost frame first, the busiest first."""
    written = document(profile(("main;idle", 1, MAIN), ("main;work", 2, WORKER), ("main;rest", 3, WORKER)))
    assert [one["name"] for one in written["profiles"][2:]] == [
        'Process 1 Thread 2 "worker", cpu',
        'Process 1 Thread 1 "MainThread", cpu',
    ]
    names = [one["name"] for one in written["shared"]["frames"]]
    busiest = written["profiles"][written["activeProfileIndex"]]
    assert [[names[frame] for frame in stack] for stack in busiest["samples"]] == [["main", "work"], ["main", "rest"]]
    assert (busiest["unit"], busiest["weights"], busiest["endValue"]) == ("nanoseconds", [2, 3], 5)


def test_samples_stand_in_the_order_of_their_moments() -> None:
    """Speedscope's time order is the real one."""
    written = document(profile(("late", 1, [], 9), ("early", 1, [], 3)))
    names = [written["shared"]["frames"][stack[0]]["name"] for stack in written["profiles"][0]["samples"]]
    assert names == ["early", "late"]


def test_lost_samples_stand_in_the_name() -> None:
    """Whoever opens the file sees what is missing, and no stack of it."""
    taken = Recording("py-spy", "0.4.1", "wall", 100.0, lost=3, invalid=2)
    written = document(replace(profile(("main", 1)), recording=taken))
    assert written["name"] == "py-spy 0.4.1, wall, 100 Hz; 3 samples lost, 2 invalid"
    assert [frame["name"] for frame in written["shared"]["frames"]] == ["main"]


def foreign(*parts: dict[str, Any], frames: int = 3) -> bytes:
    """A file that another tool wrote."""
    shared = {"frames": [{"name": f"f{index}", "file": None, "line": index} for index in range(frames)]}
    return json.dumps({"shared": shared, "profiles": parts, "exporter": "py-spy@0.4.1"}).encode()


def sampled(name: str, unit: str, samples: list[list[int]], weights: list[float]) -> dict[str, Any]:
    """A profile of samples."""
    return {"type": "sampled", "name": name, "unit": unit, "samples": samples, "weights": weights}


def test_threads_of_py_spy_become_labels() -> None:
    """Names that py-spy gives to its profiles are read: process, thread, name."""
    one = speedscope_read.read(foreign(sampled('Process 7 Thread 8 "a "b""', "seconds", [[0, 1]], [0.01])))
    assert one.label_sets[1] == (Label("pid", 7), Label("thread_id", 8), Label("thread", 'a "b"'))
    assert (one.sample_types, one.total(0)) == ((SampleType("time", "nanoseconds"),), 10_000_000)
    assert [frame.function for frame in one.frames_of(0)] == ["f1", "f0"]
    assert (one.recording.engine, one.recording.version) == ("py-spy", "0.4.1")


def test_profiles_of_several_units_are_columns() -> None:
    """Bytes and counts in one file are two sample types; a sample of the one is 0 in the other."""
    one = speedscope_read.read(
        foreign(sampled("Memory", "bytes", [[0]], [512]), sampled("Allocations", "none", [[0]], [2]))
    )
    assert one.sample_types == (SampleType("memory", "bytes"), SampleType("samples", "count"))
    assert [list(column) for column in one.values] == [[512, 0], [0, 2]]


def event(kind: str, frame: int, at: float) -> dict[str, Any]:
    """A frame that opens or closes."""
    return {"type": kind, "frame": frame, "at": at}


def test_events_become_samples_with_moments() -> None:
    """Each stretch with one stack is a sample that says when it began."""
    events = [
        event("O", 0, 1),
        event("O", 1, 3),
        event("C", 1, 4),
        event("C", 0, 4),
        event("O", 2, 6),
        event("C", 2, 7),
    ]
    one = speedscope_read.read(foreign({"type": "evented", "name": "t", "unit": "microseconds", "events": events}))
    assert one.times is not None
    stacks = [[frame.function for frame in one.frames_of(index)] for index in range(3)]
    assert (stacks, list(one.times), list(one.values[0])) == (
        [["f0"], ["f1", "f0"], ["f2"]],
        [1000, 3000, 6000],
        [2000, 1000, 1000],
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"profiles": []}', "no profile"),
        (b'{"shared": {"frames": []}}', "'profiles' is missing"),
        (b'{"profiles": 5, "shared": {"frames": []}}', "no valid speedscope file"),
        (b'{"profiles": [NaN]}', "NaN"),
        (foreign(sampled("a", "seconds", [[9]], [1])), "out of range"),
        (foreign(sampled("a", "seconds", [[-1]], [1])), "frame -1"),
        (foreign(sampled("a", "seconds", [[0]], [])), "no valid speedscope file"),
        (foreign(sampled("a", "seconds", [[0]], [1e300])), "no valid speedscope file"),
        (foreign(sampled("a", "parsecs", [[0]], [1])), "'parsecs' is missing"),
        (foreign({"type": "evented", "name": "a", "unit": "none", "events": [event("C", 0, 1)]}), "not entered"),
        (
            foreign({"type": "evented", "name": "a", "unit": "none", "events": [event("O", 0, 5), event("C", 0, 1)]}),
            "Time goes back",
        ),
    ],
)
def test_a_damaged_file_says_what_is_wrong(content: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        speedscope_read.read(content)


def test_halves_of_characters_do_no_harm() -> None:
    """A lone surrogate, which JSON can carry, becomes a replacement character that every writer can take."""
    content = foreign(sampled("a", "none", [[0]], [1])).replace(b'"f0"', b'"\\ud800"')
    one = speedscope_read.read(content)
    assert one.frames[0].function == "\ufffd"
    assert speedscope_write.write(one)
