"""What is computed from profiles: figures, summaries, differences, requests; merging and choosing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from profiled import CPU, MAIN, WORKER, frame, header, profile, profiles, rows

from diag.errors import UsageError
from diag.model import Cost
from diag.profiles import diff, places, tables, transform
from diag.profiles.attribute import Span, attribute
from diag.profiles.model import NO_TIME, Frame, Label, Mapping, Profile, Recording, SampleType, label
from diag.profiles.summary import summary

FIBONACCI = profile(("main;fib;fib;fib", 6, MAIN), ("main;fib", 3, MAIN), ("main;flask.run;work", 1, WORKER), ("", 2))


def names(figures: dict[tables.Function, tables.Figures]) -> dict[str, tuple[int, int]]:
    """(own, total) by the function's name."""
    return {function.name: tuple(one) for function, one in figures.items()}


def test_recursion_counts_once() -> None:
    """A function that calls itself is not more than the samples it stands in."""
    assert names(tables.by_function(FIBONACCI, 1)) == {"fib": (9, 9), "main": (0, 10), "work": (1, 1), "run": (0, 1)}


def test_modules_and_labels() -> None:
    """Figures of a module count a sample once; sums of a label tell what has no such label."""
    assert tables.by_module(FIBONACCI, 1) == {"/srv/shop/app.py": (10, 10), "flask": (0, 1)}
    assert tables.by_label(FIBONACCI, 1, "thread") == {("MainThread",): 9, ("worker",): 1, (None,): 2}


@given(profiles())
def test_figures_add_up(one: Profile) -> None:
    """What is innermost adds up to all samples that have a stack, whatever the key."""
    seen = sum(value for index, value in enumerate(one.values[0]) if one.stacks[one.stack_of[index]])
    for figures in (tables.by_function(one, 0), tables.by_module(one, 0), tables.by_frame(one, 0, tables.line_of)):
        assert sum(own for own, _ in figures.values()) == seen


def test_the_top_of_a_table() -> None:
    """Largest first, by either figure; what is nothing is left out."""
    figures = tables.by_function(FIBONACCI, 1)
    assert [function.name for function, _ in tables.top(figures, 9)] == ["fib", "work"]
    assert [function.name for function, _ in tables.top(figures, 2, by_total=True)] == ["main", "fib"]


def test_functions_without_a_name_are_told_apart() -> None:
    """By the line they start on, or by their address."""
    assert tables.function_of(Frame("", "a.js", 5, start_line=3)).start_line == 3
    assert tables.function_of(Frame("", address=0x10)).name == "0x10"
    assert tables.function_of(Frame("", system_name="_Z1f")).name == "_Z1f"


def test_a_summary_is_plain_data() -> None:
    """What a page needs is there without a click, and is JSON."""
    one = replace(
        FIBONACCI,
        recording=Recording("py-spy", "0.4.1", "wall", 100.0, lost=3, invalid=1, cost=Cost(0.5)),
        duration_ns=2_000_000_000,
    )
    found = json.loads(json.dumps(summary(one)))
    assert (found["sample_type"], found["total"], found["samples"]) == ({"name": "cpu", "unit": "nanoseconds"}, 12, 4)
    assert [row["function"] for row in found["by_self"]] == ["fib", "work"]
    assert (found["by_total"][0]["function"], found["by_total"][0]["total_share"]) == ("main", round(10 / 12, 6))
    assert [row["module"] for row in found["modules"]] == ["/srv/shop/app.py"]
    assert [(row["thread"], row["value"]) for row in found["threads"]] == [("MainThread", 9), (None, 2), ("worker", 1)]
    assert found["recording"] | {"start_ns": 0} == {
        "sentence": "py-spy 0.4.1, wall, 100 Hz; 3 samples lost, 1 invalid",
        "engine": "py-spy",
        "version": "0.4.1",
        "mode": "wall",
        "rate_hz": 100.0,
        "start_ns": 0,
        "duration_s": 2.0,
        "lost": 3,
        "invalid": 1,
        "missing_share": 0.5,
        "cost": {"pause_s": 0.5, "cpu_s": 0.0, "duration_s": 0.0},
    }
    assert found["facts"]["hottest"]["function"] == "fib"
    assert found["facts"]["longest_in_app"]["function"] == "fib"  # that all is below `main` says nothing
    assert found["facts"]["app_share"] == round(10 / 12, 6)


@given(profiles(timed=True))
def test_every_profile_has_a_summary(one: Profile) -> None:
    """Also one without a sample, without a stack, or with negative values."""
    for kind in one.sample_types:
        assert json.dumps(summary(one, kind.name))


def test_a_sample_type_that_is_not_there() -> None:
    """Is a KeyError, which names it."""
    with pytest.raises(KeyError, match="wall"):
        summary(FIBONACCI, "wall")


def test_equal_samples_are_added_up() -> None:
    """One sample for each stack and label set, in both columns."""
    one = transform.aggregate(profile(("a", 1, MAIN), ("a", 2, MAIN), ("a", 4, WORKER)))
    assert [list(column) for column in one.values] == [[2, 1], [3, 4]]


@given(profiles(timed=True))
def test_adding_up_changes_no_sum(one: Profile) -> None:
    """Figures of a profile and of its aggregate are the same."""
    small = transform.aggregate(one)
    assert tables.by_function(small, 0) == tables.by_function(one, 0)
    assert len(small) == len({(stack, tags) for stack, tags in zip(one.stack_of, one.labels_of, strict=True)})


def test_only_some_samples() -> None:
    """By thread, and by a window of time that ends before its end."""
    one = profile(("a", 1, MAIN, 0), ("b", 2, WORKER, 10), ("c", 4, WORKER, 20), ("d", 8, WORKER))
    assert transform.select(one, labels=transform.has(thread="worker", pid=1)).total(1) == 14
    assert transform.select(one, labels=transform.has(thread="other")).total(1) == 0
    assert transform.select(one, start_ns=10, end_ns=20).total(1) == 2
    assert transform.select(one, start_ns=10).total(1) == 6
    assert transform.select(one) is one


def test_profiles_of_two_processes_become_one() -> None:
    """Samples, lost ones and costs add up; moments count from the earlier start; a missing type is 0."""
    first = profile(("a", 1, MAIN, 5), start_ns=1000, duration_ns=50, recording=Recording("py-spy", lost=1))
    other = profile(("a", 2, WORKER, 5), start_ns=1100, duration_ns=50, recording=Recording("py-spy", lost=2))
    memory = replace(profile(("m", 7)), sample_types=(SampleType("samples", "count"), SampleType("space", "bytes")))
    one = transform.merge([first, other, memory])
    assert one.times is not None
    assert (list(one.times), one.start_ns, one.duration_ns) == ([5, 105, NO_TIME], 1000, 150)
    assert [list(column) for column in one.values] == [[1, 1, 1], [1, 2, 0], [0, 0, 7]]
    assert (one.recording.engine, one.recording.lost, len(one.frames)) == ("py-spy", 3, 2)


@given(profiles())
def test_one_profile_merged_is_itself(one: Profile) -> None:
    """Merging loses nothing."""
    alone = transform.merge([one])
    assert (rows(alone), header(alone)) == (rows(one), header(one))


def test_a_rate_makes_time_of_counts() -> None:
    """Each count stands for a period, and time is shown first."""
    counts = replace(
        profile(("a", 0), ("b", 0)), sample_types=(SampleType("samples", "count"), SampleType("x", "count"))
    )
    one = transform.with_period(counts, CPU, 10_000_000)
    assert (one.total(one.column()), one.period, one.period_type) == (20_000_000, 10_000_000, CPU)


BEFORE = profile(("main;work", 50, MAIN), ("main;rest", 50, MAIN))
AFTER = profile(("main;work", 30, MAIN), ("main;rest", 10, MAIN))


def test_functions_that_changed() -> None:
    """Shares are compared, not times: half as long a recording makes nothing faster."""
    found = diff.functions(BEFORE, AFTER)
    assert [(change.key.name, change.own, change.total) for change in found] == [
        ("work", 0.25, 0.25),
        ("rest", -0.25, -0.25),
    ]


def test_stacks_that_changed() -> None:
    """Each stack with its own change; one that is gone has nothing after."""
    found = diff.stacks(BEFORE, profile(("main;work", 30)))
    assert [([one.function for one in change.key], change.own_before, change.own_after) for change in found] == [
        (["work", "main"], 0.5, 1.0),
        (["rest", "main"], 0.5, 0.0),
    ]


def test_the_difference_is_a_profile() -> None:
    """The base is negative, marked as pprof marks it, and scaled to the new one's total."""
    one = diff.difference(BEFORE, AFTER)
    assert (one.total(1), list(one.values[1])) == (0, [30, 10, -20, -20])
    assert [label(one.label_sets[tags], "pprof::base") for tags in one.labels_of] == [None, None, "true", "true"]
    assert diff.difference(BEFORE, AFTER, normalized=False).total(1) == -60


def test_profiles_of_different_things_are_not_compared() -> None:
    """Bytes less nanoseconds is told to be nonsense."""
    memory = replace(AFTER, sample_types=(SampleType("objects", "count"), SampleType("space", "bytes")))
    with pytest.raises(UsageError, match="space in bytes, and samples in count, cpu in nanoseconds"):
        diff.difference(BEFORE, memory)


def requests(one: Profile) -> list[str | int | None]:
    """The request of each sample."""
    return [label(one.label_sets[tags], "request_id") for tags in one.labels_of]


def test_samples_belong_to_requests() -> None:
    """By thread and moment, from the start to before the end; the innermost span counts; other labels stay."""
    one = profile(*[("a", 1, MAIN, moment) for moment in (0, 10, 15, 20, 30)], ("b", 1, WORKER, 15), start_ns=1000)
    spans = [Span("outer", "t1", 1, 1010, 1030), Span("inner", None, 1, 1015, 1020, pid=None)]
    found = attribute(one, spans)
    assert requests(found) == [None, "outer", "inner", "outer", None, None]
    assert found.label_sets[found.labels_of[1]] == (*MAIN, Label("request_id", "outer"), Label("trace_id", "t1"))
    assert found.label_sets[found.labels_of[2]] == (*MAIN, Label("request_id", "inner"))
    assert summary(found)["facts"]["in_requests_share"] == 0.5
    assert [row["request_id"] for row in summary(found)["requests"]] == ["outer", "inner"]


def test_spans_may_overlap() -> None:
    """A thread that begins a request before another ends (as asyncio does) counts under the one that began last."""
    one = profile(*[("a", 1, MAIN, moment) for moment in range(0, 50, 10)])
    spans = [Span("a", None, 1, 0, 30), Span("b", None, 1, 10, 40), Span("never", None, 1, 20, 20)]
    assert requests(attribute(one, spans)) == ["a", "b", "b", "b", None]


def test_a_thread_of_another_process_is_another_thread() -> None:
    """Where a span names its process, only that process counts."""
    one = profile(("a", 1, MAIN, 5))
    assert requests(attribute(one, [Span("x", None, 1, 0, 9, pid=2)])) == [None]
    assert requests(attribute(one, [Span("x", None, 1, 0, 9, pid=1)])) == ["x"]


def test_samples_without_a_moment_belong_to_no_request() -> None:
    """What is not known is not guessed."""
    span = Span("x", None, 1, 0, 9)
    timed, untimed = profile(("a", 1, MAIN, NO_TIME)), profile(("a", 1, MAIN))
    assert requests(attribute(timed, [span])) == [None]
    assert attribute(untimed, [span]) is untimed


SITE = "/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("one", "language", "module", "in_app"),
    [
        (frame("work"), "python", "/srv/shop/app.py", True),
        (Frame("run", f"{SITE}/flask/app.py"), "python", "flask.app", False),
        (Frame("f", f"{SITE}/six/__init__.py"), "python", "six", False),
        (Frame("wait", "/usr/lib/python3.11/threading.py"), "python", "threading", False),
        (Frame("f", "<frozen importlib._bootstrap>"), "python", "importlib._bootstrap", False),
        (Frame("work", "/srv/a.js"), "javascript", "/srv/a.js", True),
        (Frame("f", "/srv/node_modules/@hapi/hoek/lib/x.js"), "javascript", "@hapi/hoek", False),
        (Frame("readFile", "node:fs"), "javascript", "node:fs", False),
        (Frame("net/http.(*conn).serve", "/usr/lib/go-1.19/src/net/http/server.go"), "go", "net/http", False),
        (Frame("main.work", "/srv/shop/main.go"), "go", "main", True),
        (Frame("malloc", mapping=Mapping(file="/lib/libc.so.6")), "native", "libc.so.6", False),
        (Frame("f", "Objects/obmalloc.c"), "native", "Objects/obmalloc.c", False),
        (Frame("(idle)"), "", "(idle)", False),
    ],
)
def test_where_code_comes_from(one: Frame, language: str, module: str, in_app: bool) -> None:
    """Language, module and whether it is the application's are told by the file."""
    assert (places.language(one), places.module(one), places.in_app(one)) == (language, module, in_app)
