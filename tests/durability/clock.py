"""A clock that runs faster, for a child that is to wait for days: the only thing in the campaign that is not real."""

from __future__ import annotations

import threading
import time


def run_faster(factor: float) -> None:
    """From now on a second of `time` and of `threading` takes a `factor`-th of one, in this process."""
    monotonic, wall, sleep, wait = time.monotonic, time.time, time.sleep, threading.Condition.wait
    began, began_wall = monotonic(), wall()

    def faster() -> float:
        return began + (monotonic() - began) * factor

    def wait_faster(self: threading.Condition, timeout: float | None = None) -> bool:
        return wait(self, timeout if timeout is None else timeout / factor)

    time.monotonic = faster
    time.time = lambda: began_wall + (monotonic() - began) * factor
    time.sleep = lambda seconds: sleep(float(seconds) / factor)
    threading.Condition.wait = wait_faster  # type: ignore[method-assign]
