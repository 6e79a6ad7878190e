"""A report as the capture page shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import deaths
import pytest
from diag_server.entries import entry
from diag_server.present import ReportView, facts, raw, report_view


def view(made: deaths.Made) -> ReportView:
    return report_view(made.capture, json.loads(next(iter(made.files.values()))))


def test_a_native_crash_shows_what_the_kernel_said() -> None:
    """Signal, fault address and registers stand as rows with names that a reader knows."""
    shown = view(deaths.made(deaths.segfault()))

    rows = {fact.name: fact.value for fact in shown.signal}
    assert rows["signal"] == "SIGSEGV (11)"
    assert rows["fault address"] == "0x0000000000000000"
    assert {fact.name for fact in shown.registers} >= {"rip", "rsp", "rax"}
    assert [thread.name for thread in shown.crashed] == ["ThreadPoolExecutor-0_0"]
    assert len(shown.others) == 2


def test_the_requests_in_flight_and_before_are_shown() -> None:
    """Both lists of the black box, with their links."""
    shown = view(deaths.made(deaths.segfault("req-a")))

    assert [(one.request_id, one.trace_id, one.path) for one in shown.requests] == [
        ("req-a", deaths.TRACE, "/checkout")
    ]
    assert [(one.request_id, one.status) for one in shown.recent] == [("req-before", "200")]
    assert "TimeoutError: stock" in shown.events[0].value


def test_a_living_process_has_no_ending() -> None:
    """A report of a process that lives on does not say how it ended."""
    assert view(deaths.made(deaths.live())).ending == []
    assert view(deaths.made(deaths.killed())).ending != []


def test_sizes_read_as_sizes() -> None:
    """Numbers of bytes are rounded with the exact one beside them; other numbers are left alone."""
    (memory, number) = facts({"memory": {"limit": 536870912}, "gcCounts": 2048})

    assert (memory.name, memory.value, memory.exact) == ("memory.limit", "512.0 MiB", "536870912")
    assert number.value == "2048"


def test_the_manifest_speaks_where_there_is_no_report() -> None:
    """Without a report the verdict of the manifest is shown."""
    made = deaths.made(deaths.segfault())

    shown = report_view(made.capture, {})

    assert shown.verdict is not None
    assert shown.verdict.sentence == (made.capture.verdict or {})["sentence"]
    assert shown.threads == shown.modules == shown.environment == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


@pytest.mark.parametrize("wrong", [None, 7, "x", [], {}, [[1]], {"a": {"b": [1]}}, True], ids=repr)
def test_a_report_that_lies_anywhere_is_shown(wrong: Any) -> None:
    """Any value of a report may be of any type: it is indexed and its page is made all the same."""
    made = deaths.made(deaths.segfault())
    text = next(iter(made.files.values()))

    for path in places(json.loads(text)):
        if path:
            report = json.loads(text)
            place = report
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = wrong
            assert report_view(made.capture, report).raw
            assert entry(made.capture, report).words


def test_a_long_report_is_not_put_into_the_page() -> None:
    """Raw JSON is shown up to a length that a browser likes."""
    assert raw({"a": "x" * 500_000}) == ""
    assert raw({"a": 1}) == '{\n  "a": 1\n}'
