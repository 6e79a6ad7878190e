"""How far this machine's clock is from a store's, which refuses signatures of another time."""

from __future__ import annotations

from diag.model import now
from diag.upload.answers import http_date

OFF_S = 300  # stores allow 15 minutes; a difference below this is no reason to refuse, and not worth a correction


class Clock:
    """The clock that requests are signed by: this machine's, less what a store's date has shown it to be ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def corrected(self, date: str) -> bool:
        """Whether the date of an answer shows that the signature was made at a wrong time; then the next is right."""
        moment = http_date(date)
        ahead_s = (now() - moment).total_seconds() if moment else self.ahead_s
        if abs(ahead_s - self.ahead_s) < OFF_S:
            return False
        self.ahead_s = ahead_s if abs(ahead_s) >= OFF_S else 0.0
        return True


def clock_sentence(ahead_s: float) -> str:
    """`this machine's clock is 61 minutes ahead of the store's`."""
    side = "ahead of" if ahead_s > 0 else "behind"
    return f"this machine's clock is {abs(ahead_s) / 60:.0f} minutes {side} the store's"
