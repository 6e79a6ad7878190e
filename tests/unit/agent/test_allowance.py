"""How much an instance may have recorded beside others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diag.agent import allowance
from diag.agent.allowance import BURST, Allowance
from diag.agent.delivery import Delivery
from diag.agent.recorder import Recorder
from diag.config import load
from diag.model import new_capture_id
from diag.spool import spools


def test_a_burst_and_then_a_few_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used is kept up to a burst; a second brings a few more."""
    moment = 1000.0
    monkeypatch.setattr(allowance.time, "monotonic", lambda: moment)
    one = Allowance()

    assert [one.take() for _ in range(int(BURST) + 1)] == [True] * int(BURST) + [False]
    moment += 1
    assert [one.take() for _ in range(6)] == [True] * 5 + [False]
    moment += 1e6
    assert sum(one.take() for _ in range(1000)) == BURST


def test_what_is_refused_is_counted(home: Path) -> None:
    """A record beyond it is received and dropped, by this reason."""
    settings = load(environ=os.environ)
    recorder = Recorder(settings, Delivery(settings))

    recorder.refuse(new_capture_id())
    recorder.finish()

    account = spools(settings)[0].account()
    assert (account.received, account.dropped) == (1, {"rate": 1})
