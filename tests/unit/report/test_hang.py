"""What two looks at a process that did not get on are called, and what the report of it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from unit.report.factory import (
    MOMENT,
    PID,
    WAITING,
    ended,
    evidence,
    made,
    python_frame,
    request,
    stack,
)

from diag.evidence import Evidence, Frame, HangSeen, Ran, Thread, Wait
from diag.report.title import title

SLEEPS = Wait("sleep", "sleeps", timed=True)
EVENTS = Wait("poll", "waits for events (epoll)")
STILL, BUSY, WAKES = Ran(), Ran(0.99, 0.0, 40), Ran(0.002, 0.0, 20)
LOOP = python_frame("run_forever", 600, "/usr/lib/python3.11/asyncio/base_events.py")


def hang(*frames: tuple[Frame, ...], ran: Ran = STILL, waiting: Wait | None = SLEEPS, **more: Any) -> Evidence:
    """An event about looks at the main thread, a second apart, with these frames."""
    looks = tuple(
        evidence(
            time=MOMENT - timedelta(seconds=len(frames) - 1 - number),
            threads=(Thread(PID, "MainThread", state="idle", frames=one, waiting=waiting), Thread(PID + 1, "pool-1")),
        )
        for number, one in enumerate(frames)
    )
    values = {"kind": "request", "requests": (request(),), "timeout_s": 30.0, "threshold_s": 24.0, **more}
    seen = HangSeen(age_s=24.2, looks=looks, ran={PID: ran}, **values)
    return replace(looks[-1], trigger="hang", level="EVENT", hang=seen)


def judged(seen: Evidence) -> tuple[str, str, str]:
    """Cause, confidence and title of the report."""
    report = made(seen)
    return report["verdict"]["cause"], report["verdict"]["confidence"], title(report)


def test_two_looks_that_are_the_same_are_a_hang() -> None:
    """The request, its age, the place, what it does there, and by what that is known."""
    report = made(hang(stack(), stack()))
    verdict = report["verdict"]
    assert (verdict["cause"], verdict["confidence"]) == ("hang", "high")
    assert verdict["sentence"] == (
        "Hung: GET /checkout (request 7f3a) has been under way for 24.2 s, and stands in view (app.py:20), "
        "where it sleeps; both looks show the same."
    )
    assert verdict["evidence"] == [
        "Between the looks, 1.0 s apart, it did not run at all.",
        "The limit is 24.0 s, 80% of gunicorn's --timeout.",
    ]
    assert title(report) == "hang in view (app.py:20)"
    assert len(report["hang"]["stacks"]["looks"]) == 2


def test_an_endless_loop_is_a_hang_of_which_the_line_may_differ() -> None:
    """It computes all the time in one function; of a function that is called from it that is not known."""
    assert judged(hang(stack(line=20), stack(line=22), ran=BUSY, waiting=None))[:2] == ("hang", "medium")
    inner = (python_frame("helper", 5), *stack())
    assert judged(hang(stack(), inner, ran=BUSY, waiting=None))[0] == "slow-request"


def test_what_wakes_or_moves_is_slow() -> None:
    """The same place twice is no proof where it ran in between."""
    assert judged(hang(stack(), stack(), ran=WAKES)) == ("slow-request", "high", "slow request in view (app.py:20)")
    assert judged(hang(stack("one"), stack("other"), ran=WAKES))[0] == "slow-request"


def test_what_went_on_by_itself_was_slow() -> None:
    """Both looks were the same, and then the answer came."""
    report = made(hang(stack(), stack(), went_on=True))
    assert report["verdict"]["cause"] == "slow-request"
    assert "went on by itself" in report["verdict"]["sentence"]


def test_an_event_loop_is_blocked_or_turns() -> None:
    """A request that awaits on a loop that turns is slow, however long; a loop that sleeps is blocked."""
    blocked, idle = (*stack(), LOOP), (LOOP,)
    cause, confidence, said = judged(hang(blocked, blocked))
    assert (cause, confidence, said) == ("blocked-event-loop", "high", "event loop blocked in view (app.py:20)")
    assert judged(hang(idle, idle, waiting=EVENTS))[0] == "slow-request"
    assert judged(hang(blocked, blocked, kind="loop", requests=()))[0] == "blocked-event-loop"


def test_one_look_proves_little() -> None:
    """The process ended before a second one."""
    assert judged(hang(stack()))[:2] == ("hang", "low")


def test_time_that_does_not_count_is_told() -> None:
    """The limit is one thing, what was not counted another."""
    evidence_lines = made(hang(stack(), stack(), uncounted_s=12.0, more=3))["verdict"]["evidence"]
    assert any(line.startswith("12.0 s more do not count") for line in evidence_lines)
    assert any(line.startswith("3 more like it") for line in evidence_lines)


def test_a_deadlock_wins_and_names_its_threads() -> None:
    """Two threads that wait for each other; where the first stands is the title."""
    locks = (
        Thread(PID, "payer", frames=stack("pay"), waiting=Wait("lock", "waits for RLock 1", "RLock 1", PID + 1, "so")),
        Thread(PID + 1, "packer", frames=(WAITING,), waiting=Wait("lock", "waits for RLock 2", "RLock 2", PID, "so")),
    )
    look = evidence(threads=locks)
    seen = HangSeen("request", 24.0, 24.0, looks=(look, look), requests=(request(),), ran={PID: STILL})
    report = made(replace(look, trigger="hang", level="EVENT", hang=seen))
    assert (report["verdict"]["cause"], report["verdict"]["confidence"]) == ("deadlock", "high")
    assert report["verdict"]["evidence"][0].startswith("GET /checkout (request 7f3a) has been under way for 24.0 s")
    assert title(report).startswith("deadlock in ")


def test_stopped_is_an_event_without_looks() -> None:
    """By which signal, and that nothing was done."""
    seen = evidence(trigger="signal", level="EVENT", threads=(), hang=HangSeen("stopped", 2.0, 1.0, signal=19))
    report = made(seen)
    assert (report["verdict"]["cause"], title(report)) == ("stopped", "stopped by SIGSTOP")
    assert "Nothing was done about it" in report["verdict"]["evidence"][0]


def test_the_end_of_a_worker_says_what_it_hung_in() -> None:
    """gunicorn's own words come first, and what the looks found stands behind them."""
    found = hang(stack(), stack()).hang
    for seen, cause in ((ended(0, trigger="hang"), "worker-timeout"), (ended(signal=9, trigger="signal"), "killed")):
        report = made(replace(seen, hang=found))
        assert report["verdict"]["cause"] == cause
        assert any("before the end: Hung: GET /checkout" in line for line in report["verdict"]["evidence"])


def test_one_story_has_one_fingerprint() -> None:
    """Another line, age and request are the same hang; another function is not."""
    prints = [made(hang(stack(*at), stack(*at)))["fingerprint"] for at in (("view", 20), ("view", 21), ("other", 20))]
    assert prints[0] == prints[1] != prints[2]
