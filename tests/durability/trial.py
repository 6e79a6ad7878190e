"""One trial, and what came out of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durability.bench import Bench


EVERY = 20_000  # as a number of trials: leave none out


@dataclass(slots=True)
class Outcome:
    """What a trial found. Each entry of the lists is a sentence about one capture or one number.

    `lost`: acknowledged, and nowhere and not counted. `doubled`: two records of one capture, or other bytes in the
    store. `uncounted`: the account is not that of the campaign's ledger. `broken`: any other promise. `hit` says
    whether the fault was met at all.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    hit: bool = True

    def sentences(self) -> list[str]:
        """Everything that is wrong."""
        return [
            f"{kind}: {sentence}"
            for kind in ("lost", "doubled", "uncounted", "broken")
            for sentence in getattr(self, kind)
        ]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial by name. The same seed and name make the same trial, as far as the kernel's clock allows."""

    family: str
    name: str
    seed: int
    run: Callable[[Bench, random.Random], Outcome]

    @property
    def full_name(self) -> str:
        """`family/name`, by which it is repeated alone."""
        return f"{self.family}/{self.name}"

    def chance(self) -> random.Random:
        """The trial's own randomness."""
        return random.Random(f"{self.seed}/{self.full_name}")
