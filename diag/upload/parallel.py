"""Several pieces of work at a time, and not one that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Iterable[T], at_once: int, *, every_s: float = 0.0) -> Iterator[list[R]]:
    """The results of the work on each item, those of `every_s` seconds together, in the order in which they end.

    `at_once` threads work; as many items again are taken in advance. The first error ends it: no further item is
    taken, what has begun is waited for, and the error is raised.
    """
    if at_once == 1:
        # Without threads: the interpreter waits for those of a pool, and an agent must be able to leave one behind.
        yield from ([work(item)] for item in items)
        return
    # Late: one at a time needs no pool.
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    left = iter(items)
    with ThreadPoolExecutor(at_once, thread_name_prefix="diag-upload") as pool:
        running = {pool.submit(work, item) for item in islice(left, 2 * at_once)}
        results: list[R] = []
        due = monotonic() + every_s
        try:
            while running:
                patience_s = max(0.0, due - monotonic()) if results else None
                done, running = wait(running, patience_s, FIRST_COMPLETED)
                running |= {pool.submit(work, item) for item in islice(left, len(done))}
                results += [one.result() for one in done]
                if not running or monotonic() >= due:
                    yield results
                    results, due = [], monotonic() + every_s
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
