"""A death against the last healthy look: what changed most comes first, and what always grows is no change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from unit.report.factory import PID, crashed, evidence, made, process, request, stack, witness

from diag.evidence import Thread
from diag.report.healthy import changed

HEALTHY = made(evidence())


def death(**changes: Any) -> dict[str, Any]:
    """A segfault of the same process, an hour older."""
    return made(crashed(11, address=0, trapno=14, **changes))


def by_what(report: dict[str, Any]) -> dict[str, str]:
    """What changed, in short, by its name."""
    return {one.what: one.change for one in changed(HEALTHY, report)}


def test_what_changed_most_comes_first() -> None:
    """Ten times the memory stands above a changed setting, and that above another stack; each says by how much."""
    facts = process()
    grown = replace(
        facts,
        memory={**facts.memory, "rss": 2000 << 20, "peak_rss": 2000 << 20},
        open_files=1020,
        environment={**facts.environment, "LANG": "tr_TR.UTF-8"},
        cpu_user_s=7000.0,
        context_switches_voluntary=10**9,
    )
    found = changed(HEALTHY, death(process=grown))
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    named = {one.what: (one.before, one.after, one.change) for one in found}
    assert named["memory in use"] == ("50 MiB", "2.0 GiB", "+3,900 %")
    assert named["open files"] == ("17", "1,020", "+5,900 %")
    assert named["environment: LANG"] == ("C.UTF-8", "tr_TR.UTF-8", "changed")
    assert not [name for name in named if "cpu" in name.lower() or "switches" in name or "uptime" in name.lower()]


def test_a_crowd_of_threads_and_requests_is_seen() -> None:
    """Threads and requests in flight are counted, and a kind of thread that was not there is named."""
    crowd = tuple(Thread(PID + n, f"worker-{n}" if n else "MainThread", n == 0, frames=stack()) for n in range(60))
    many = tuple(request(f"/{n}", request_id=f"r{n}") for n in range(40))
    report = made(replace(crashed(11, address=0, trapno=14, witness=witness(in_flight=many)), threads=crowd))
    found = by_what(report)
    assert found["requests in flight"] == "+3,900 %"
    assert found["threads"].endswith("%")
    assert found["threads of another kind"] == "new"


def test_small_differences_are_left_out() -> None:
    """Two looks at one process are never quite the same."""
    facts = process()
    slightly = replace(facts, memory={**facts.memory, "rss": (50 << 20) + 900_000}, open_files=18)
    assert not {"memory in use", "open files"} & by_what(death(process=slightly)).keys()


def test_the_process_that_died_is_compared_with_itself() -> None:
    """Of a live report of several processes the one with its pid counts."""
    small = replace(process(), pid=PID + 1, memory={**process().memory, "rss": 5 << 20})
    healthy = made(evidence(process=small, children=(evidence(),)))
    healthy["header"]["processId"] = PID + 1
    assert "memory in use" not in {one.what for one in changed(healthy, death())}


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [[]], [None], {"x": [1]}, -1e308])
def test_hostile_values_are_no_trouble(value: Any) -> None:
    """Whatever stands in a section counts as not there."""
    report = json.loads(json.dumps(death()))
    for key in report:
        changed({**HEALTHY, key: value}, {**report, key: value})
        changed(HEALTHY, {**report, key: value})
