"""Finds what does not get on: requests that are too old, event loops that do not turn, deadlocks, stopped processes.

`tick` is called by the loop that watches the instance, as often as `patience_s` says, and reads little. Looks at stacks
are taken beside it, in a thread that lives as long as they take. What is found becomes an event; or, where the process
ends because of it, a part of that record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from diag.agent.hang_case import Case
from diag.agent.hang_clock import Clocks
from diag.agent.hang_look import HangLook
from diag.agent.hang_sight import see
from diag.agent.registry import Target
from diag.agent.watched import Watched, instance_of
from diag.collectors.collector import Subject
from diag.evidence import HangSeen

APART_S, LONGEST_LOOK_S = 1.0, 60.0
SHARE = 0.8  # of gunicorn's time-out
UNKNOWN_S = 30.0  # where nothing is set, and no time-out is known
FASTEST_S, SLOWEST_S, WORKING_S = 0.25, 5.0, 0.1
TURNS = 8  # in the time after which something is too old
QUIET_S, SLOW_QUIET_S = 600.0, 3600.0  # in which the same finding is counted, and not recorded again
TOLD_KEPT = 500
CLOSES_S = 1.0
LOOKERS = 4  # at a time: workers that wait for the same service are too old in the same moment
GRACE_S = 3.0  # gunicorn's master looks once a second for whom to end

Submit = Callable[[Watched, HangSeen], str]


@dataclass(slots=True)
class _Told:
    """When a finding was recorded last, and how many like it were not since."""

    moment_s: float
    more: int = 0


@dataclass(slots=True)
class HangWatch:
    """Of the processes of one instance. `after_s` is the setting: None leaves it to gunicorn, 0 turns all of it off.

    `submit` records an event and returns its capture's id. `tools` is entered while a tool runs that nobody else may
    reap.
    """

    target: Target
    after_s: float | None
    submit: Submit
    tools: Callable[[], AbstractContextManager[None]]
    _cases: dict[int, Case] = field(default_factory=dict)
    _told: dict[tuple[Hashable, ...], _Told] = field(default_factory=dict)
    _last: Clocks = field(default_factory=Clocks.read)
    _due_s: float = 0.0
    _asked_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lookers: list[threading.Thread] = field(default_factory=list)

    def patience_s(self, now_s: float) -> float | None:
        """For how long nothing needs to be done; None where it is turned off."""
        return None if self.after_s == 0 else max(0.0, self._due_s - now_s)

    def tick(self, processes: Iterable[Watched], clocks: Clocks | None = None) -> None:
        """One sight of all of them, where it is time for one."""
        clocks = clocks or Clocks.read()
        if self.after_s == 0 or clocks.monotonic_s < self._due_s:
            return
        found = list(processes)
        for pid in self._cases.keys() - {process.pid for process in found}:
            del self._cases[pid]
        self._lookers = [looker for looker in self._lookers if looker.is_alive()]
        for process in found:
            self._turn(process, clocks)
        self._last, self._asked_s = clocks, self._interval_s()
        self._due_s = clocks.monotonic_s + self._asked_s

    def welcome(self) -> None:
        """A process is new: what it says of its server is read soon, and again while it starts."""
        self._due_s = min(self._due_s, time.monotonic() + FASTEST_S)

    def take(self, process: Watched) -> HangSeen | None:
        """What was found of a process that has ended, which is watched no longer."""
        case = self._cases.pop(process.pid, None)
        return case.last_words() if case is not None else None

    def close(self) -> None:
        """Stop watching. A look that is being taken has its own limits, and is not waited for beyond a second."""
        self._stop.set()
        until = time.monotonic() + CLOSES_S
        for looker in self._lookers:
            looker.join(max(0.0, until - time.monotonic()))

    def _turn(self, process: Watched, clocks: Clocks) -> None:
        sight = see(process.pid, process.box_path)
        if sight is None:
            return
        case = self._cases.get(process.pid)
        if case is None or case.ticks != process.ticks:
            case = self._cases[process.pid] = Case(process.ticks, self._last)
        case.turn(sight, clocks, self._asked_s)
        if (stopped := case.newly_stopped()) is not None:
            self._submit(process, stopped, ("stopped", process.pid), clocks.monotonic_s)
        if (found := case.ripe()) is not None and found.cause is not None:
            capture_id = self._submit(process, found.seen, (found.cause, found.where), clocks.monotonic_s)
            found.seen = replace(found.seen, capture_id=capture_id)
        if len(self._lookers) < LOOKERS and (cause := case.due(self._threshold_s(sight.timeout_s))) is not None:
            self._look(process, case, cause)

    def _submit(self, process: Watched, seen: HangSeen, key: tuple[Hashable, ...], now_s: float) -> str | None:
        """Record it, unless the same was recorded lately; returns the capture's id."""
        last = self._told.get(key)
        quiet_s = SLOW_QUIET_S if "slow-request" in key else QUIET_S
        if last is not None and now_s - last.moment_s < quiet_s:
            last.more += 1
            return None
        if len(self._told) >= TOLD_KEPT:
            self._told.clear()
        self._told[key] = _Told(now_s)
        return self.submit(process, replace(seen, more=last.more if last else 0))

    def _threshold_s(self, timeout_s: float | None) -> float:
        if self.after_s is not None:
            return self.after_s
        return timeout_s * SHARE if timeout_s else UNKNOWN_S

    def _interval_s(self) -> float:
        if self._lookers:
            return WORKING_S
        waits = [SLOWEST_S]
        for case in self._cases.values():
            threshold_s = self._threshold_s(case.timeout_s)
            waits += [max(FASTEST_S, threshold_s / TURNS), *case.next_s(threshold_s)]
        return min(waits)

    def _look(self, process: Watched, case: Case, cause: HangSeen) -> None:
        finding = case.finding
        assert finding is not None
        subject = Subject(
            instance_of(process, self.target), process.pid, process.ticks, "", run_dir=self.target.run_dir
        )
        left_s, apart_s = LONGEST_LOOK_S, APART_S
        if cause.kind == "request" and cause.timeout_s and cause.timeout_s > cause.age_s:
            left_s = cause.timeout_s - cause.age_s
            apart_s = min(APART_S, left_s / 2)
            finding.held_until_s += left_s + GRACE_S
        taking = HangLook(subject, finding, apart_s, time.monotonic() + left_s, self.tools, self._stop)
        looker = threading.Thread(target=taking.take, name="hangs", daemon=True)
        looker.start()
        self._lookers.append(looker)
