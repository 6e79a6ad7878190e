"""What is known of one process that is watched for hangs: ages, what has been looked at, and what was found."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

from diag.agent.hang_clock import Clocks, Stopwatch
from diag.agent.hang_sight import Sight
from diag.evidence import HangSeen

STOPPED_S = 1.0  # shorter is a tool that reads it, or Ctrl-Z and back
REST_S = 60.0  # between two looks at a process
LONGEST_REST_S = 3600.0  # between looks that find nothing
SOONEST_S = 0.05
LEAVES_S = 2.0  # who is ended for what he waited for gives it up first, and is gone a little later
YOUNG_S, WHILE_YOUNG_S = 5.0, 0.5


@dataclass(slots=True)
class Finding:
    """Looks at a process, and what they are judged to be: `cause` is None until they are, or where it is nothing.

    `keys` are what was under way too long, and has not ended while one of them is there.
    """

    keys: frozenset[Hashable]
    seen: HangSeen
    held_until_s: float
    there_s: float  # when one of the keys was there for the last time
    done: bool = False
    cause: str | None = None
    where: str = ""
    settled: bool = False


@dataclass(slots=True)
class Case:
    """One process, by its start time. A look at it is taken in another thread, which writes into `finding` alone."""

    ticks: int
    clocks: Clocks
    finding: Finding | None = None
    timeout_s: float | None = None
    _watch: Stopwatch = field(init=False)
    _sight: Sight = field(default_factory=Sight)
    _looked: set[Hashable] = field(default_factory=set)
    _rests_until_s: float = 0.0
    _rest_s: float = REST_S
    _stopped_at_s: float | None = None
    _stopped_turns: int = 0
    _stop_told: bool = False

    def __post_init__(self) -> None:
        self._watch = Stopwatch(self.clocks)

    def turn(self, sight: Sight, clocks: Clocks, asked_s: float) -> None:
        """One more sight of it."""
        stands = bool(sight.vitals.standing)
        self._watch.turn(clocks, asked_s, sight.under_way(), stands=stands, starved=sight.starved)
        self._sight, self.timeout_s = sight, sight.timeout_s
        self._looked &= self._watch.ages.keys()
        if self.finding is not None and self.finding.keys & self._watch.ages.keys():
            self.finding.there_s = clocks.monotonic_s
        if sight.vitals.standing != "stopped":
            self._stopped_at_s, self._stop_told = None, False
        elif self._stopped_at_s is None or self._watch.blind or sight.vitals.turns != self._stopped_turns:
            self._stopped_at_s, self._stopped_turns = clocks.monotonic_s, sight.vitals.turns

    def newly_stopped(self) -> HangSeen | None:
        """Said once of each time that it is stopped for longer than a moment."""
        if self._stopped_at_s is None or self._stop_told:
            return None
        age_s = self._watch.clocks.monotonic_s - self._stopped_at_s
        if age_s < STOPPED_S:
            return None
        self._stop_told = True
        requests = tuple(self._sight.requests.values())
        return HangSeen("stopped", age_s, STOPPED_S, requests=requests, signal=self._sight.vitals.signal)

    def due(self, threshold_s: float) -> HangSeen | None:
        """What has been under way for too long and was not looked at yet; it is now."""
        now_s = self._watch.clocks.monotonic_s
        if self._sight.vitals.standing or now_s < self._rests_until_s or self._is_open:
            return None
        old = {key: age for key, age in self._watch.ages.items() if age >= threshold_s}
        if requests := [key for key in self._sight.requests if key in old]:
            return self._cause("request", requests, threshold_s)
        kind = "loop" if self._sight.loop in old else "locks"
        return self._cause(kind, [key for key in (self._sight.loop, *self._sight.locks) if key in old], threshold_s)

    def _cause(self, kind: str, keys: list[Hashable], threshold_s: float) -> HangSeen | None:
        if not set(keys) - self._looked:
            return None
        self._looked.update(keys)
        now_s = self._watch.clocks.monotonic_s
        oldest = max(keys, key=lambda key: self._watch.ages[key])
        requests = [self._sight.requests[key] for key in keys if key in self._sight.requests]
        seen = HangSeen(
            kind,
            self._watch.ages[oldest],
            threshold_s,
            self._watch.uncounted_s(oldest),
            requests=tuple(sorted(requests, key=lambda one: one.started)),
            timeout_s=self.timeout_s,
        )
        self.finding = Finding(frozenset(keys), seen, now_s, now_s)
        return seen

    def ripe(self) -> Finding | None:
        """What was found, as soon as nobody is about to end the process for it; said once."""
        found, now_s = self.finding, self._watch.clocks.monotonic_s
        if found is None or found.settled or not found.done:
            return None
        gone_s = now_s - found.there_s
        if found.cause is not None and (gone_s < LEAVES_S if gone_s else now_s < found.held_until_s):
            return None
        found.settled = True
        self._rest_s = REST_S if found.cause else min(LONGEST_REST_S, self._rest_s * 2)
        self._rests_until_s = now_s + self._rest_s
        found.seen = replace(found.seen, went_on=gone_s > 0)
        return found

    def last_words(self) -> HangSeen | None:
        """What was found, where it was still so shortly before the end."""
        found = self.finding
        if found is None or not found.seen.looks or self._watch.clocks.monotonic_s - found.there_s > LEAVES_S:
            return None
        suspected = found.seen.kind != "request" or found.done  # of a request it is sure what is looked at
        return None if suspected and found.cause is None else found.seen

    def next_s(self, threshold_s: float) -> Iterator[float]:
        """After how many seconds there is something to do."""
        if self._watch.clocks.monotonic_s - self.clocks.monotonic_s < YOUNG_S:
            yield WHILE_YOUNG_S
        for key, age in self._watch.ages.items():
            if key not in self._looked and age < threshold_s:
                yield max(SOONEST_S, threshold_s - age)
        if self._is_open and self.finding is not None:
            yield max(SOONEST_S, self.finding.held_until_s - self._watch.clocks.monotonic_s)

    @property
    def _is_open(self) -> bool:
        return self.finding is not None and not self.finding.settled
