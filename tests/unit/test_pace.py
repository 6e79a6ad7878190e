"""The bound of the upload's rate, by a clock that the test turns."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from diag.config import MIB, Settings
from diag.upload.pace import Pace


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.moment = 100.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time of it."""
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Move it on."""
        with self._lock:
            self.moment += seconds


@pytest.fixture
def time() -> Time:
    """A clock that stands."""
    return Time()


def test_a_backlog_takes_its_time(time: Time) -> None:
    """Ten seconds' worth of bytes take nine at least: one second's worth goes at once."""
    pace = Pace(1000.0, time.now, time.sleep)
    for _ in range(100):
        pace.take(100)
    assert time.moment == pytest.approx(109.0)


def test_what_was_not_used_is_not_saved_up(time: Time) -> None:
    """After an hour of rest it is one second's worth that goes at once, not an hour's."""
    pace = Pace(1000.0, time.now, time.sleep)
    time.sleep(3600)
    began = time.moment
    pace.take(5000)
    assert time.moment - began == pytest.approx(4.0)


def test_a_file_is_read_at_this_pace(time: Time) -> None:
    """Reading waits, and nothing else of the file is changed."""
    body = Pace(1000.0, time.now, time.sleep).body(io.BytesIO(b"x" * 3000))
    assert body.tell() == 0
    assert b"".join(iter(lambda: body.read(500), b"")) == b"x" * 3000
    assert time.moment == pytest.approx(102.0)
    body.seek(0)
    assert body.read() == b"x" * 3000


def test_without_a_bound_nothing_is_wrapped_or_waited_for(time: Time) -> None:
    """0 costs nothing."""
    pace = Pace(0, time.now, time.sleep)
    file = io.BytesIO(b"x")
    assert pace.body(file) is file
    pace.take(10**12)
    assert time.moment == 100.0
    assert Pace(5.0).body(None) is None


def test_all_threads_share_it(time: Time) -> None:
    """Parts and captures that go at the same time go at this pace together."""
    pace = Pace(1000.0, time.now, time.sleep)
    threads = [threading.Thread(target=lambda: [pace.take(100) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.moment >= 108.9


def test_the_setting_is_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the spool's quota is."""
    assert Pace.of(Settings(state_dir=Path("/x"), upload_rate_mb_s=3))._bytes_per_s == 3 * MIB
