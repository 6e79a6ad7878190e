"""Crash loops: of many deaths of one fingerprint in a minute some are kept whole, and the others counted.

Whole are the first WHOLE in a minute, then every tenth, every hundredth, every thousandth, and the last: the newest is
held back until another of its fingerprint takes its place, or for a moment none comes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from diag.capture.reports import Prepared

WHOLE = 20
WINDOW_S = 60.0
QUIET_S = 3.0
STORIES = 1000  # fingerprints that are remembered


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of one: kept, or counted. `works` are what had to wait for it."""

    prepared: Prepared
    keep: bool
    works: tuple[Callable[[], None], ...] = ()


@dataclass(slots=True)
class _Story:
    """One fingerprint: when it was seen last, and which one is held back."""

    seen: deque[float] = field(default_factory=lambda: deque(maxlen=WHOLE))
    number: int = 0  # since there have been too many
    counted: int = 0  # since the last one that was kept
    held: Prepared | None = None
    works: list[Callable[[], None]] = field(default_factory=list)

    def crowded(self, moment: float) -> bool:
        """Whether so many came in the last minute that the next one is no news."""
        return len(self.seen) == WHOLE and moment - self.seen[0] < WINDOW_S

    def settle(self, *, keep: bool) -> Iterator[Settled]:
        """Let go of the one that is held."""
        if self.held is None:
            return
        prepared, works = self.held, tuple(self.works)
        self.held, self.works = None, []
        if keep:
            yield self.kept(prepared, works)
        else:
            self.counted += 1
            yield Settled(prepared, keep=False, works=works)

    def kept(self, prepared: Prepared, works: tuple[Callable[[], None], ...] = ()) -> Settled:
        """It is kept, and says how many before it were not."""
        told = replace(prepared, capture=replace(prepared.capture, repeats=self.counted))
        self.counted = 0
        return Settled(told, keep=True, works=works)


class Sampling:
    """Decides which deaths of one instance are kept. Time is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stories: dict[str, _Story] = {}

    def offer(self, prepared: Prepared) -> Iterator[Settled]:
        """One more death: what is to be done now, with it or with those before it."""
        moment = self._clock()
        name = prepared.capture.fingerprint or ""
        story = self._stories.pop(name, None) or _Story()
        self._stories[name] = story  # at the end: it was seen last
        crowded = story.crowded(moment)
        story.seen.append(moment)
        if crowded:
            yield from story.settle(keep=story.number > 0 and story.number % _step(story.number) == 0)
            story.number += 1
            story.held = prepared
        else:
            yield from story.settle(keep=True)
            story.number = 0
            yield story.kept(prepared)
        while len(self._stories) > STORIES:
            yield from self._stories.pop(next(iter(self._stories))).settle(keep=True)

    def attach(self, capture_id: str, work: Callable[[], None]) -> bool:
        """Do this when it is settled what becomes of this one; False where it is not held."""
        for story in reversed(self._stories.values()):
            if story.held is not None and story.held.capture.capture_id == capture_id:
                story.works.append(work)
                return True
        return False

    @property
    def patience_s(self) -> float | None:
        """How long nothing has to be settled; None where nothing is held."""
        waits = [story.seen[-1] + QUIET_S for story in self._stories.values() if story.held is not None]
        return max(0.0, min(waits) - self._clock()) if waits else None

    def settle(self, *, everything: bool = False) -> Iterator[Settled]:
        """Keep what was the last of its fingerprint for a moment; or all that is held."""
        moment = self._clock()
        for story in list(self._stories.values()):
            if everything or (story.seen and story.seen[-1] + QUIET_S <= moment):
                yield from story.settle(keep=True)


def _step(number: int) -> int:
    """Every so manieth is kept."""
    return next((step for step in (1000, 100) if number >= step), 10)
