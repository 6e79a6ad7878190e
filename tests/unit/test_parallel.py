"""Several pieces of work at a time: all results, bounded, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from diag.upload.parallel import in_parallel

TIMEOUT_S = 30


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_every_item_has_its_result(at_once: int) -> None:
    """Once each, whatever the order."""
    found = [one for some in in_parallel(lambda number: number * 2, range(100), at_once) for one in some]
    assert sorted(found) == [number * 2 for number in range(100)]


def test_so_many_work_at_a_time() -> None:
    """All threads meet, so they do work side by side; and there are no more."""
    meeting = threading.Barrier(4)
    workers: set[str] = set()

    def meet(_: int) -> None:
        meeting.wait(TIMEOUT_S)
        workers.add(threading.current_thread().name)

    list(in_parallel(meet, range(40), 4))
    assert len(workers) == 4


def test_an_error_ends_it_and_leaves_no_thread() -> None:
    """What has begun ends, what has not never begins, and the items are not taken to their end."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    def work(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError
        if number > 3:
            threading.Event().wait(0.02)  # so that the others cannot be through before the scheduler lets that one fail

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(work, items(), 2))
    assert threading.active_count() == before
    assert taken < 1000


def test_results_of_a_while_come_together() -> None:
    """Whoever takes them pays once for many; but nobody waits longer than that for a slow one."""
    assert [len(some) for some in in_parallel(lambda number: number, range(100), 3, every_s=TIMEOUT_S)] == [100]

    slow = threading.Event()
    found: list[list[int]] = []
    for some in in_parallel(lambda n: n if n else slow.wait(TIMEOUT_S) and n, range(3), 2, every_s=0.01):
        found.append(some)
        if sum(map(len, found)) == 2:
            slow.set()
    assert sorted(one for some in found for one in some) == [0, 1, 2]
    assert len(found) > 1


def test_one_at_a_time_needs_no_thread() -> None:
    """An agent that ends must not have to wait for a pool."""
    here = threading.current_thread()
    assert list(in_parallel(lambda _: threading.current_thread() is here, range(3), 1)) == [[True]] * 3
