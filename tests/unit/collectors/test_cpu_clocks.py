"""CPU time by the moment: read from a live process, and told between any two moments."""

from __future__ import annotations

import os
import threading
import time

import pytest

from diag.collectors.cpu_clocks import Clock, CpuClocks

SECOND_NS = 10**9


def clock(*noted: tuple[int, int]) -> Clock:
    """One that has been read so."""
    found = Clock()
    for moment, used in noted:
        found.note(moment, used)
    return found


@pytest.mark.parametrize(
    ("start", "end", "ran"),
    [(0, 40, 20), (10, 20, 10), (12, 18, 6), (20, 30, 0), (25, 35, 5), (0, 5, 0), (50, 60, 0), (15, 60, 15)],
)
def test_between_two_readings_time_passes_evenly(start: int, end: int, ran: float) -> None:
    """Before the first reading and after the last one nothing is known, so nothing ran."""
    assert clock((10, 100), (20, 110), (22, 110), (26, 110), (30, 110), (40, 120)).between(start, end) == ran


def test_one_reading_tells_nothing() -> None:
    """Two are needed for a difference."""
    assert clock((10, 100)).between(0, 20) == 0


def test_a_thread_that_computes_is_told_from_one_that_rests() -> None:
    """Both threads of this process are found by the kernel's number, and an unknown one has that of the process."""
    began, ended = time.time_ns(), threading.Event()
    resting = threading.Thread(target=ended.wait)
    with CpuClocks([os.getpid()]) as clocks:
        resting.start()
        before, computed = time.thread_time(), 0.0
        while computed < 0.5:
            computed = time.thread_time() - before
        ended.set()
        resting.join()
    until = time.time_ns()

    busy = clocks.ran_ns(os.getpid(), os.getpid(), began, until)
    assert busy is not None
    assert 0.1 * SECOND_NS < busy <= time.process_time_ns()
    assert (clocks.ran_ns(os.getpid(), resting.native_id or 0, began, until) or 0) < 0.1 * SECOND_NS
    whole = clocks.ran_ns(os.getpid(), 1, began, until)
    assert whole is not None
    assert whole >= busy


def test_a_process_that_is_gone_has_no_clock() -> None:
    """Nothing is told of it, so that all that was seen of it counts."""
    with CpuClocks([2**22 + 1]) as clocks:
        pass
    assert clocks.ran_ns(2**22 + 1, 2**22 + 1, 0, 10**18) is None
