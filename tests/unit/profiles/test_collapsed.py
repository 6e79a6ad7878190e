"""Collapsed stacks, in and out: plain, py-spy's and austin's."""

from __future__ import annotations

import pytest
from hypothesis import given
from profiled import COUNT, CPU, MAIN, WORKER, profile, profiles

from diag.errors import BadProfile
from diag.profiles import collapsed
from diag.profiles.model import Frame, Label, Profile, SampleType

AUSTIN = """# austin: 3.7.0
# interval: 10000
# mode: {mode}

P7;T0:8;/srv/app.py:<module>:3;/srv/app.py:work:9 {metrics}
P7;T0:9;:INVALID: {metrics}
P7;T0:9;/srv/app.py:run:1;:GC: {metrics}
P7;T0:8 {metrics}

# duration: 20000
"""


def test_plain_lines() -> None:
    """Innermost frame last, a count at the end; spaces belong to names."""
    one = collapsed.read(b"main;do work;read 3\nmain 4\n\n")
    assert [frame.function for frame in one.frames_of(0)] == ["read", "do work", "main"]
    assert (one.sample_types, list(one.values[0])) == ((COUNT,), [3, 4])


def test_lines_of_py_spy() -> None:
    """File, line, thread and process are read out of the names."""
    line = b'process 7:"python app.py";thread (0x1F): a: b;<module> (/srv/app.py:3);f (x.c);thread (local) 5\n'
    one = collapsed.read(line)
    assert list(one.frames) == [Frame("thread", "local"), Frame("f", "x.c"), Frame("<module>", "/srv/app.py", 3)]
    assert one.label_sets[1] == (
        *(Label("pid", 7), Label("process", "python app.py")),
        *(Label("thread_id", 31), Label("thread", "a: b")),
    )


@pytest.mark.parametrize("mode", ["wall", "cpu"])
def test_lines_of_austin(mode: str) -> None:
    """Times are in nanoseconds and have moments; an invalid sample is counted and not drawn."""
    one = collapsed.read(AUSTIN.format(mode=mode, metrics="10000").encode())
    assert one.sample_types == (COUNT, SampleType(mode, "nanoseconds"))
    assert list(one.frames_of(0)) == [Frame("work", "/srv/app.py", 9), Frame("<module>", "/srv/app.py", 3)]
    assert (len(one), one.recording.invalid, one.recording.rate_hz) == (3, 1, 100.0)
    assert (list(one.values[1]), one.duration_ns) == ([10_000_000] * 3, 20_000_000)
    assert one.times is not None
    assert list(one.times) == [10_000_000, 20_000_000, 20_000_000]
    assert Label("state", "gc") in one.label_sets[one.labels_of[1]]
    assert list(one.frames_of(2)) == []


def test_all_metrics_of_austin() -> None:
    """In full mode a line has time, idle state and memory, which may shrink."""
    one = collapsed.read(AUSTIN.format(mode="full", metrics="10000,1,-4096").encode())
    assert [kind.name for kind in one.sample_types] == ["samples", "memory", "wall"]
    assert [column[0] for column in one.values] == [1, -4096, 10_000_000]
    assert Label("state", "idle") in one.label_sets[one.labels_of[0]]


def test_written_as_py_spy_does() -> None:
    """Process and thread stand in front, equal lines are added up, and what is 0 is left out."""
    one = profile(("main;work", 2, MAIN), ("main;work", 3, MAIN), ("main", 4, WORKER), ("gone", 0))
    assert collapsed.write(one, "cpu").decode().splitlines() == [
        "process 1;thread (1): MainThread;main (/srv/shop/app.py:7);work (/srv/shop/app.py:7) 5",
        "process 1;thread (2): worker;main (/srv/shop/app.py:7) 4",
    ]
    assert collapsed.write(one, "samples").decode().splitlines()[0].endswith(" 2")


@given(profiles())
def test_whatever_is_written_can_be_read(one: Profile) -> None:
    """No name breaks a line, and the sum stays what it was."""
    back = collapsed.read(collapsed.write(one))
    assert back.total(0) == one.total(one.column())


def test_names_and_tags_come_back() -> None:
    """What the format holds is the same after writing and reading."""
    one = profile(("main;work", 5, MAIN), ("main;flask.run", 4, WORKER))
    back = collapsed.read(collapsed.write(one))
    assert [list(back.frames_of(index)) for index in (0, 1)] == [list(one.frames_of(index)) for index in (0, 1)]
    assert back.label_sets == one.label_sets
    assert list(back.values[0]) == list(one.values[one.sample_types.index(CPU)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"main;work\n", "Line 1 does not end with a number"),
        (b"main 1\nwork 1.5\n", "Line 2 does not end"),
        (b"main " + b"9" * 30, "Line 1 does not end"),
        (b"# austin: 3.7.0\nP1;T1;a:b:1 5\n", "'mode' is missing"),
        (b"# austin: 3.7.0\n# mode: wall\nmain 5\n", "Line 3 is none of austin's"),
        (b"# austin: 3.7.0\n# mode: wall\nP1;T1;a:b 5\n", "no valid file of collapsed stacks"),
        (b"# austin: 3.7.0\n# mode: full\nP1;T1;a:b:1 5\n", "no valid file of collapsed stacks"),
        (b"a;" * 20_000 + b"a 1\n", "frames deep"),
    ],
)
def test_a_damaged_file_says_where(content: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        collapsed.read(content)
