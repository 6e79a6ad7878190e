"""What a process's end is recorded as."""

from __future__ import annotations

import signal

import pytest

from diag.agent.classify import End, Seen, classify
from diag.evidence import Ended

NOTHING = None
TABLE = [
    (Ended(status=0), Seen(), NOTHING),
    (Ended(status=0), Seen(asked=signal.SIGTERM), End("event", "EVENT", "signal")),
    (Ended(status=0), Seen(asked=signal.SIGTERM, first=False), NOTHING),
    (Ended(status=3), Seen(left_cleanly=True), End("event", "EVENT", "exit")),
    (Ended(status=3, call="sys.exit"), Seen(called="sys.exit"), End("event", "EVENT", "exit")),
    (Ended(status=3, call="os._exit"), Seen(called="os._exit"), End("crash", "OUTSIDE", "exit")),
    (Ended(status=0), Seen(timed_out=True, stacks=True, left_cleanly=True), End("crash", "FULL", "hang")),
    (Ended(signal=signal.SIGKILL), Seen(timed_out=True), End("crash", "OUTSIDE", "hang")),
    (Ended(status=3), Seen(left_cleanly=False), End("crash", "OUTSIDE", "exit")),
    (Ended(status=143), Seen(asked=signal.SIGTERM), End("event", "EVENT", "signal")),
    (Ended(status=1), Seen(raised=True, left_cleanly=True), End("crash", "FULL", "exception")),
    (Ended(status=0), Seen(raised=True), End("crash", "FULL", "exception")),
    (Ended(signal=signal.SIGSEGV), Seen(frozen=True), End("crash", "NATIVE", "signal")),
    (Ended(signal=signal.SIGSEGV), Seen(), End("crash", "OUTSIDE", "signal")),
    (Ended(signal=signal.SIGKILL), Seen(), End("crash", "OUTSIDE", "signal")),
    (Ended(signal=signal.SIGKILL), Seen(out_of_memory=True), End("crash", "OUTSIDE", "oom")),
    (Ended(signal=signal.SIGTERM), Seen(), End("event", "EVENT", "signal")),
    (Ended(signal=signal.SIGINT), Seen(), End("event", "EVENT", "signal")),
    (Ended(signal=signal.SIGHUP), Seen(), End("crash", "OUTSIDE", "signal")),
    (Ended(), Seen(left_cleanly=True), NOTHING),
    (Ended(), Seen(), End("event", "EVENT", "exit")),
]


@pytest.mark.parametrize(("ended", "seen", "wanted"), TABLE)
def test_an_end_has_its_kind_level_and_trigger(ended: Ended, seen: Seen, wanted: End | None) -> None:
    """Crash, event or nothing: by what was seen inside, and by the wait status."""
    assert classify(ended, seen) == wanted
