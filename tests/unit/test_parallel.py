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

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(work, items(), 2))
    assert threading.active_count() == before
    assert taken < 100


def test_one_at_a_time_needs_no_thread() -> None:
    """An agent that ends must not have to wait for a pool."""
    here = threading.current_thread()
    assert list(in_parallel(lambda _: threading.current_thread() is here, range(3), 1)) == [[True]] * 3
