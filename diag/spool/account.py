"""Where every capture is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SAMPLED = "sampled"  # of a crash loop: counted on purpose, and no loss


@dataclass(frozen=True, slots=True)
class Account:
    """Where every capture is: `received = stored + pending + quarantined + dropped`.

    Pending includes those that are being written.
    """

    received: int = 0
    stored: int = 0
    pending: int = 0
    quarantined: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    oldest_pending_s: float | None = None

    @property
    def lost(self) -> int:
        """How many were dropped though they should have been kept."""
        return sum(count for reason, count in self.dropped.items() if reason != SAMPLED)

    def __add__(self, other: Account) -> Account:
        """The account of two spools."""
        waited = [one.oldest_pending_s for one in (self, other) if one.oldest_pending_s is not None]
        return Account(
            self.received + other.received,
            self.stored + other.stored,
            self.pending + other.pending,
            self.quarantined + other.quarantined,
            dict(sorted((Counter(self.dropped) + Counter(other.dropped)).items())),
            max(waited, default=None),
        )

    def to_json(self) -> dict[str, Any]:
        """The account as `diag flush --json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}
