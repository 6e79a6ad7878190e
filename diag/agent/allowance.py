"""How much one instance may have recorded beside others: a bucket of tokens."""

from __future__ import annotations

import time

BURST, A_SECOND = (
    100.0,
    5.0,
)  # as many events a second as one probe tells; a burst is a pool of workers that dies at once


class Allowance:
    """Of one instance."""

    def __init__(self) -> None:
        self._left, self._since = BURST, time.monotonic()

    def take(self) -> bool:
        """Whether one more may be recorded."""
        moment = time.monotonic()
        self._left = min(BURST, self._left + (moment - self._since) * A_SECOND)
        self._since = moment
        if self._left < 1:
            return False
        self._left -= 1
        return True
