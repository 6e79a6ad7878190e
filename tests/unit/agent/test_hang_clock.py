"""What counts as time, by clocks that a test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diag.agent.hang_clock import LATE_S, Clocks, Stopwatch

REQUEST = ("request", 7)


@dataclass
class Turns:
    """A stopwatch whose turns are asked for once a second, with one request under way."""

    watch: Stopwatch = field(default_factory=lambda: Stopwatch(Clocks(1000.0, 5000.0)))

    def turn(self, passed_s: float = 1.0, *, slept_s: float = 0.0, told_s: float = 0.0, **more: Any) -> float:
        """The request's age after one more turn."""
        before = self.watch.clocks
        clocks = Clocks(before.monotonic_s + passed_s, before.boottime_s + passed_s + slept_s)
        self.watch.turn(clocks, 1.0, {REQUEST: told_s}, **more)
        return self.watch.ages[REQUEST]


def test_time_counts_while_a_request_is_there() -> None:
    """What was there at both ends of a turn is older by it, and what is gone and comes again is new."""
    turns = Turns()
    assert [turns.turn(), turns.turn(), turns.turn(0.5)] == [0.0, 1.0, 1.5]
    turns.watch.turn(Clocks(turns.watch.clocks.monotonic_s + 1, turns.watch.clocks.boottime_s + 1), 1.0, {})
    assert turns.turn() == 0.0


def test_what_is_new_is_believed_for_one_turn() -> None:
    """A request that says it is old was not there a turn ago: its own clock may have been set."""
    assert Turns().turn(told_s=0.4) == 0.4
    assert Turns().turn(told_s=86400.0) == 1.0
    assert Turns().turn(told_s=-86400.0) == 0.0


def test_a_machine_that_slept_starts_the_count_anew() -> None:
    """A laptop that is closed for an hour has no request of an hour."""
    turns = Turns()
    turns.turn()
    assert turns.turn() == 1.0
    assert turns.turn(slept_s=3600.0) == 0.0
    assert turns.watch.blind
    assert turns.turn() == 1.0


def test_an_agent_that_was_starved_or_stopped_starts_the_count_anew() -> None:
    """A turn that comes a minute late saw nothing of that minute; one that is a little late counts."""
    turns = Turns()
    turns.turn()
    assert turns.turn(2 + LATE_S) == 2 + LATE_S
    assert turns.turn(60.0) == 0.0
    assert turns.turn() == 1.0


def test_a_process_that_stands_does_not_get_older() -> None:
    """Neither while it is stopped or frozen, nor in the turns in which that began and ended; what was before stays."""
    turns = Turns()
    turns.turn()
    assert turns.turn() == 1.0
    assert [turns.turn(stands=True) for _ in range(9)] == [1.0] * 9
    assert turns.turn() == 1.0
    assert turns.turn() == 2.0
    assert turns.watch.uncounted_s(REQUEST) == 10.0


def test_waiting_for_a_processor_does_not_count() -> None:
    """Of a process that the machine gives a tenth of the time, a tenth counts."""
    turns = Turns()
    turns.turn(starved={REQUEST: 50.0})
    ages = [turns.turn(starved={REQUEST: 50.0 + 0.9 * number}) for number in range(1, 11)]
    assert round(ages[-1], 6) == 1.0
    assert round(turns.watch.uncounted_s(REQUEST), 6) == 9.0


def test_more_waiting_than_time_is_none() -> None:
    """Several threads that wait for a processor do not turn the clock back."""
    turns = Turns()
    turns.turn(starved={REQUEST: 0.0})
    assert turns.turn(starved={REQUEST: 0.5}) == 0.5
    assert turns.turn(starved={REQUEST: 7.0}) == 0.5
