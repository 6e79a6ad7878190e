"""Crash loops: which deaths are kept whole, and that every one is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import deaths
import pytest

from diag.agent import sampling
from diag.agent.sampling import Sampling, Settled
from diag.capture.reports import Prepared
from diag.model import new_capture_id

BASE = deaths.made(deaths.killed()).capture


class Loop:
    """Deaths at their times, and what became of each."""

    def __init__(self) -> None:
        self.moment = 100.0
        self.sampling = Sampling(lambda: self.moment)
        self.offered: list[str] = []
        self.settled: list[Settled] = []

    def die(self, times: int = 1, fingerprint: str = "2:a", every_s: float = 0.06) -> None:
        """So many deaths, one after the other."""
        for _ in range(times):
            capture = replace(BASE, capture_id=new_capture_id(), fingerprint=fingerprint)
            self.offered.append(capture.capture_id)
            self.settled += self.sampling.offer(Prepared(capture, {}, "r.json"))
            self.moment += every_s

    def wait(self, seconds: float) -> None:
        """Nothing happens for a while, but the recorder looks when it has to."""
        self.moment += seconds
        self.settled += self.sampling.settle()

    def end(self) -> None:
        """The agent ends."""
        self.settled += self.sampling.settle(everything=True)

    @property
    def kept(self) -> list[str]:
        """The ids of those that are kept, as they were."""
        return [one.prepared.capture.capture_id for one in self.settled if one.keep]

    @property
    def told(self) -> int:
        """How many deaths the kept ones stand for."""
        return sum(1 + one.prepared.capture.repeats for one in self.settled if one.keep)


def test_a_thousand_a_minute_are_all_counted() -> None:
    """The first and the last are whole, some between are, and what is kept says how many there were."""
    loop = Loop()
    loop.die(1000)
    loop.end()

    assert Counter(one.prepared.capture.capture_id for one in loop.settled) == Counter(loop.offered)
    assert loop.kept[: sampling.WHOLE] == loop.offered[: sampling.WHOLE]
    assert loop.kept[-1] == loop.offered[-1]
    assert loop.told == 1000
    assert len(loop.kept) < 50


def test_each_fingerprint_has_its_own_first_and_last() -> None:
    """Another cause in the middle of a loop is no repeat."""
    loop = Loop()
    for number in range(300):
        loop.die(fingerprint="2:a" if number != 150 else "2:b")
    loop.end()

    assert loop.offered[150] in loop.kept
    assert loop.offered[-1] in loop.kept
    assert loop.told == 300


def test_what_comes_now_and_then_is_always_whole() -> None:
    """Less than WHOLE a minute is no loop, however long it goes on."""
    loop = Loop()
    loop.die(200, every_s=sampling.WINDOW_S / sampling.WHOLE + 0.01)

    assert loop.kept == loop.offered
    assert loop.sampling.patience_s is None


def test_the_last_is_kept_when_it_is_quiet() -> None:
    """Nobody has to wait for the agent's end to see the newest."""
    loop = Loop()
    loop.die(100)
    assert loop.offered[-1] not in loop.kept
    assert loop.sampling.patience_s is not None and loop.sampling.patience_s <= sampling.QUIET_S

    loop.wait(sampling.QUIET_S)

    assert loop.kept[-1] == loop.offered[-1]
    assert loop.told == 100


def test_after_a_pause_the_first_ones_are_whole_again() -> None:
    """A new loop an hour later has its own first."""
    loop = Loop()
    loop.die(100)
    loop.wait(3600)
    loop.die(3)
    assert loop.kept[-3:] == loop.offered[-3:]


def test_a_long_loop_is_kept_more_and_more_sparsely() -> None:
    """A day of it does not fill a disk."""
    loop = Loop()
    loop.die(20_000)
    loop.end()
    assert (loop.told, len(loop.kept) < 80) == (20_000, True)


def test_fingerprints_without_end_take_no_memory_without_end() -> None:
    """Where each death is another story, the oldest is forgotten, and what was held of it is kept."""
    loop = Loop()
    loop.die(sampling.WHOLE + 5, "2:first")
    for number in range(sampling.STORIES + 10):
        loop.die(fingerprint=f"2:{number}")
    assert len(loop.sampling._stories) == sampling.STORIES
    assert loop.told == len(loop.offered)


@pytest.mark.parametrize("held", [True, False])
def test_work_waits_for_what_is_held(held: bool) -> None:
    """A black box stays until it is settled what becomes of its death: the agent may be killed before."""
    loop, done = Loop(), []
    loop.die(sampling.WHOLE + 1 if held else 1)
    assert loop.sampling.attach(loop.offered[-1], lambda: done.append(1)) is held
    loop.die()
    for one in loop.settled:
        for work in one.works:
            work()
    assert bool(done) is held
