"""The watch over an instance's processes: limits, what is held, what is recorded once; by clocks that a test moves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S
from unit.agent.test_blackbox import box_with

from diag.agent.hang_clock import Clocks
from diag.agent.hang_watch import GRACE_S, HangWatch
from diag.agent.registry import Target, start_ticks
from diag.agent.watched import Watched
from diag.evidence import HangSeen
from diag.probe.diag_probe import layout

TIMED_OUT_S = 10.0  # gunicorn's


class Served:
    """A sleeping process that, by its black box, serves a request under gunicorn; and what is recorded of it."""

    def __init__(self, pid: int, box: Path, after_s: float | None = None) -> None:
        self.recorded: list[HangSeen] = []
        target = Target(pid, start_ticks(pid) or 0, "shop", "shop", "shop-1")
        self.watch = HangWatch(target, after_s, self._submit, nullcontext)
        self.process = Watched(pid, target.start_ticks, -1, box_path=box)
        self.now_s = time.monotonic()

    def _submit(self, _process: Watched, seen: HangSeen) -> str:
        self.recorded.append(seen)
        return f"capture-{len(self.recorded)}"

    def serve(self, number: int) -> None:
        """From now on it is this request that it serves."""
        assert self.process.box_path is not None
        slot = (f"req-{number}", None, None, "GET", "/pay", time.time() - number, self.process.pid)
        records: dict[int, Any] = {layout.HEADER_AT: {"timeout_s": TIMED_OUT_S}, layout.SLOTS_AT: slot}
        box_with(records, self.process.box_path)

    def turn(self, times: int = 1) -> None:
        """So many seconds pass. Looks that are being taken then are waited for."""
        for _ in range(times):
            self.now_s += 1.0
            self.watch._due_s = 0.0
            self.watch.tick([self.process], Clocks(self.now_s, self.now_s))
            for looker in self.watch._lookers:
                looker.join(TIMEOUT_S)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """It serves one request, and is looked at twice at once."""
    monkeypatch.setattr("diag.agent.hang_watch.APART_S", 0.01)
    with subprocess.Popen(["sleep", "600"]) as process:
        one = Served(process.pid, tmp_path / "box")
        one.serve(1)
        yield one
        one.watch.close()
        process.kill()


def test_the_limit_is_a_share_of_gunicorn_s_time_out(served: Served) -> None:
    """Nothing is looked at before 80 % of it, and then it is."""
    served.turn(6)
    assert served.watch._lookers == []
    served.turn(3)
    assert served.watch.take(served.process) is not None


def test_what_is_found_is_recorded_when_nobody_ends_it(served: Served) -> None:
    """Once, with both looks; and the end of the process soon after knows by which record."""
    served.turn(9)
    assert served.recorded == []
    served.turn(int(2 + GRACE_S) + 1)
    (seen,) = served.recorded
    assert (len(seen.looks), seen.timeout_s, [one.request_id for one in seen.requests]) == (2, TIMED_OUT_S, ["req-1"])
    last = served.watch.take(served.process)
    assert last is not None
    assert last.capture_id == "capture-1"


def test_an_end_before_that_has_the_looks(served: Served) -> None:
    """gunicorn ended it: nothing was recorded, and its record gets what was seen."""
    served.turn(9)
    last = served.watch.take(served.process)
    assert last is not None
    assert (len(last.looks), last.capture_id, served.recorded) == (2, None, [])


def test_the_same_again_is_counted(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose requests always hang in one place leaves a record, and after some time another."""
    monkeypatch.setattr("diag.agent.hang_watch.QUIET_S", 200.0)
    number = 1
    while len(served.recorded) < 2:
        number += 1
        served.serve(number)
        served.turn(40)
        assert number < 100, "it is never recorded again"
    assert served.recorded[0].more == 0
    assert served.recorded[1].more > 0
    assert 40 * number > 200


def test_zero_turns_it_off(tmp_path: Path) -> None:
    """Nothing is read, and the agent need not wake up."""
    off = Served(os.getpid(), tmp_path / "box", after_s=0)
    off.turn(100)
    assert off.watch.patience_s(time.monotonic()) is None
    assert off.watch.take(off.process) is None
