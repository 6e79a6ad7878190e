"""When a process is looked at, and what becomes of what was found; with sights and clocks that a test makes up."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from unit.report.factory import evidence

from diag.agent.hang_case import LEAVES_S, REST_S, STOPPED_S, Case
from diag.agent.hang_clock import Clocks
from diag.agent.hang_sight import Sight
from diag.collectors.vitals import Vitals
from diag.evidence import HangSeen, Request

LIMIT_S = 10.0


class Watched:
    """A case that is turned once a second."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.case = Case(1, self.clocks)

    @property
    def clocks(self) -> Clocks:
        """The machine never slept."""
        return Clocks(self.now_s, self.now_s)

    def turn(self, sight: Sight, times: int = 1) -> HangSeen | None:
        """What is due at the end of so many turns with this sight."""
        due = None
        for _ in range(times):
            self.now_s += 1.0
            self.case.turn(sight, self.clocks, 1.0)
            due = self.case.due(LIMIT_S) or due
        return due

    def judged(self, cause: str | None = "hang", **changes: Any) -> None:
        """The looks were taken, and were this."""
        finding = self.case.finding
        assert finding is not None
        seen = {name: getattr(finding.seen, name) for name in finding.seen.__slots__} | {"looks": (evidence(),) * 2}
        finding.seen, finding.cause, finding.done = HangSeen(**seen), cause, True
        for name, value in changes.items():
            setattr(finding, name, value)


def request(number: int = 1) -> tuple[Hashable, Request]:
    """A request in flight, by its key."""
    started = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC) + timedelta(seconds=number)
    return ("request", number), Request(started, 4711, "GET", f"/{number}", f"req-{number}")


def serving(*numbers: int, **more: Any) -> Sight:
    """A sight with these requests."""
    return Sight(requests=dict(request(number) for number in numbers), **more)


@pytest.fixture
def watched() -> Watched:
    """A process that has just begun."""
    return Watched()


def test_an_old_request_is_due_once(watched: Watched) -> None:
    """At the limit, and never again: not while it is looked at, nor when that is settled."""
    assert watched.turn(serving(1), 9) is None
    due = watched.turn(serving(1), 2)
    assert due is not None
    assert (due.kind, [one.path for one in due.requests], due.age_s >= LIMIT_S) == ("request", ["/1"], True)
    watched.judged()
    assert watched.case.ripe() is not None
    assert watched.case.ripe() is None
    assert watched.turn(serving(1), int(REST_S) * 3) is None


def test_another_old_request_waits_for_a_rest(watched: Watched) -> None:
    """A service whose requests always take long is not looked at each time."""
    watched.turn(serving(1), 12)
    watched.judged()
    watched.case.ripe()
    assert watched.turn(serving(1, 2), 30) is None
    due = watched.turn(serving(1, 2), 40)
    assert due is not None
    assert {one.path for one in due.requests} == {"/1", "/2"}


def test_a_request_that_comes_to_its_end_was_slow(watched: Watched) -> None:
    """It went on by itself, which is known a moment after it has gone."""
    watched.turn(serving(1), 12)
    watched.judged(held_until_s=watched.now_s + 100)
    watched.turn(serving(), 1)
    assert watched.case.ripe() is None
    watched.turn(serving(), int(LEAVES_S))
    found = watched.case.ripe()
    assert found is not None
    assert found.seen.went_on


def test_what_is_about_to_be_ended_is_held(watched: Watched) -> None:
    """Its end tells it, as long as that comes soon; otherwise it is told by itself."""
    watched.turn(serving(1), 12)
    watched.judged(held_until_s=watched.now_s + 5)
    watched.turn(serving(1), 2)
    assert watched.case.ripe() is None
    assert watched.case.last_words() is not None
    watched.turn(serving(1), 3)
    assert watched.case.ripe() is not None
    assert watched.case.last_words() is not None


def test_an_end_long_after_is_another_story(watched: Watched) -> None:
    """What had gone on by itself is no part of the end."""
    watched.turn(serving(1), 12)
    watched.judged()
    watched.turn(serving(), int(LEAVES_S) + 1)
    assert watched.case.last_words() is None


def test_stopped_is_said_once_and_nothing_is_due(watched: Watched) -> None:
    """Once for each time that it is stopped; a request does not get older meanwhile."""
    stopped = serving(1, vitals=Vitals("stopped", 19, turns=5))
    watched.turn(serving(1), 5)
    assert watched.turn(stopped, 60) is None
    seen = watched.case.newly_stopped()
    assert seen is not None
    assert (seen.kind, seen.signal, len(seen.requests)) == ("stopped", 19, 1)
    assert watched.case.newly_stopped() is None
    assert watched.turn(serving(1), 4) is None
    watched.turn(stopped, 1 + int(STOPPED_S))
    assert watched.case.newly_stopped() is not None


def test_a_tool_that_stops_it_again_and_again_is_no_stop(watched: Watched) -> None:
    """It has had turns in between, whatever the moments show."""
    for turns in range(20):
        watched.turn(Sight(vitals=Vitals("stopped", 19, turns=turns)))
        assert watched.case.newly_stopped() is None


@pytest.mark.parametrize("standing", ["traced", "frozen"])
def test_traced_and_frozen_are_nobody_s_alarm(watched: Watched, standing: str) -> None:
    """Neither a stop nor a hang, however long."""
    assert watched.turn(serving(1, vitals=Vitals(standing)), 1000) is None
    assert watched.case.newly_stopped() is None


def test_looks_that_find_nothing_become_rare(watched: Watched) -> None:
    """Threads that idle in locks are no deadlock, and are not looked at as soon as one of them has moved."""
    looked = []
    for turn in range(20_000):
        if watched.turn(Sight(locks=(("lock", 1, turn // 100),))) is not None:
            looked.append(turn)
            watched.judged(cause=None)
            watched.case.ripe()
    assert 3 < len(looked) < 12
