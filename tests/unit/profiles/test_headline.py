"""What a summary says in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from profiled import CPU, frame, profile

from diag.profiles import headline
from diag.profiles.builder import Builder
from diag.profiles.model import THREAD_ID, Frame, Label, Mapping, Recording
from diag.profiles.summary import summary


@pytest.mark.parametrize(
    ("own", "title"),
    [(30, "30 % in work (app.py)"), (4, "96 % in run (flask.py)"), (0, "100 % in run (flask.py)")],
)
def test_the_title_is_where_the_time_went(own: int, title: str) -> None:
    """The application's own function, unless it is a small part of what there is."""
    one = profile(*([("work", own)] if own else []), ("flask.run", 100 - own))

    assert headline.title(summary(one)) == title


def test_one_is_not_many() -> None:
    """One sample, one thread, one that was lost."""
    one = profile(("work", 1), recording=Recording("py-spy", "0.4.1", "cpu", 100.0, lost=1))

    _, taken, lost = headline.facts(summary(one))

    assert taken.startswith("1 sample in 0.0 s of 1 thread, ") and taken.endswith("; 1 sample lost")
    assert lost == "1 sample lost or invalid (50 %)"


def test_all_threads_are_counted() -> None:
    """Also those that the table has no row for."""
    one = profile(*[("work", 1, [Label(THREAD_ID, number)]) for number in range(50)])

    assert " of 50 threads" in headline.facts(summary(one))[1]


@pytest.mark.parametrize(("engine", "hint"), [("py-spy", True), ("perf", False), ("go", False)])
def test_what_waits_is_offered_by_engines_that_see_it(engine: str, hint: bool) -> None:
    """Where nothing ran, `--mode wall` is named only where it would be taken."""
    one = replace(profile(), recording=Recording(engine, "1", "cpu", 100.0))

    assert ("--mode wall" in headline.facts(summary(one))[0]) == hint


def test_a_native_function_is_in_the_file_that_it_was_mapped_from() -> None:
    """Without a source file the program or library is named: `free` of which?"""
    builder = Builder([CPU])
    leaf = builder.frame(Frame("leaf", address=0x1234, mapping=Mapping(file="/opt/shop/burn")))
    builder.add(builder.stack((leaf,)), (7,))

    found = summary(builder.build())

    assert headline.title(found) == "100 % in leaf (burn)"
    assert found["by_self"][0]["file"] == "/opt/shop/burn"


def test_the_probe_is_nobodys_own_code() -> None:
    """What the probe wraps an application in is not taken for the application."""
    builder = Builder([CPU])
    wrapped = Frame("wrap.<locals>.application", "/home/me/diag/probe/diag_probe/wsgi.py", 12)
    frames = [builder.frame(one) for one in (frame("work"), wrapped)]
    builder.add(builder.stack(tuple(frames)), (7,))

    facts = summary(builder.build())["facts"]

    assert facts["longest_in_app"]["function"] == "work"
