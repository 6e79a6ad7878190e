"""How long something has been under way, in time in which it could have got on: no false alarm when a machine sleeps.

Nothing here reads a clock or a process by itself; what is fed in decides alone.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

SLEPT_S = 0.5
LATE_S = 2.0  # so late comes a turn of an agent that was stopped, starved or frozen itself


@dataclass(frozen=True, slots=True)
class Clocks:
    """Two clocks of which one stands still while the machine sleeps (clock_gettime(2))."""

    monotonic_s: float
    boottime_s: float

    @classmethod
    def read(cls) -> Clocks:
        """Both, now."""
        return cls(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(slots=True)
class Stopwatch:
    """Ages of the things of one process, by their key, as turns at a rate that is asked for see them.

    The time of a turn counts for what was there at its beginning and its end. It does not count, while the process
    stands (stopped, traced, frozen), or waits for a processor. A turn that is late beyond measure, or in which the
    machine slept, starts every count anew: nobody saw what went on.
    """

    clocks: Clocks
    ages: dict[Hashable, float] = field(default_factory=dict)
    blind: bool = False  # whether the last turn was such a late one
    _began: dict[Hashable, float] = field(default_factory=dict)
    _stood: bool = False
    _starved: Mapping[Hashable, float] = field(default_factory=dict)

    def turn(
        self,
        clocks: Clocks,
        asked_s: float,
        present: Mapping[Hashable, float],
        *,
        stands: bool = False,
        starved: Mapping[Hashable, float] | None = None,
    ) -> None:
        """One turn, that was asked for `asked_s` after the one before.

        `present` is what is under way, with for how long by its own word: what is new is believed that, as far as the
        turn was long. `starved` is for how long the thread of each has waited for a processor, ever.
        """
        passed = clocks.monotonic_s - self.clocks.monotonic_s
        slept = clocks.boottime_s - self.clocks.boottime_s - passed
        blind = slept > SLEPT_S or passed > 2 * asked_s + LATE_S
        counts = 0.0 if blind or stands or self._stood else max(0.0, passed)
        known, starved = {} if blind else self.ages, starved or {}
        self.ages = {
            key: known[key] + max(0.0, counts - max(0.0, starved.get(key, 0.0) - self._starved.get(key, 0.0)))
            if key in known
            else min(counts, max(0.0, told_s))
            for key, told_s in present.items()
        }
        if blind:
            self.ages = dict.fromkeys(present, 0.0)
        now = clocks.monotonic_s
        self._began = {
            key: self._began[key] if key in known and key in self._began else now - age
            for key, age in self.ages.items()
        }
        self.clocks, self.blind, self._stood, self._starved = clocks, blind, stands, starved

    def uncounted_s(self, key: Hashable) -> float:
        """For how long it has been under way besides its age."""
        return max(0.0, self.clocks.monotonic_s - self._began[key] - self.ages[key])
