"""Turns evidence into captures beside the loop, so that the next crash does not wait for the last one's report."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from diag.agent.delivery import Delivery
from diag.agent.recover import leftovers, recover
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import Evidence
from diag.model import Capture
from diag.spool.account import SAMPLED

if TYPE_CHECKING:
    from diag.agent.sampling import Sampling, Settled
    from diag.capture.reports import Prepared

RATE = "rate"  # in the ledger: one too many of its instance
COUNTED_AT_ONCE = 10  # each time costs two fsyncs; until then their black boxes stay


class Recorder:
    """A thread that starts with the first record. What it writes is whole before `finish` returns."""

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._settings = settings
        self._delivery = delivery
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._sampling: Sampling | None = None  # made with the first death, which loads what it needs
        self._counted: list[Settled] = []  # to be counted in the ledger, some at a time

    def submit(self, evidence: Evidence, kind: str) -> None:
        """Record this soon."""
        self._later(lambda: self._record(evidence, kind))

    def afterwards(self, work: Callable[[], None], capture_id: str | None = None) -> None:
        """Do this when all that was submitted is recorded, and it is settled what becomes of this capture."""
        if self._thread is None:
            work()
        else:
            self._waiting.put(lambda: self._after(work, capture_id))

    def refuse(self, capture_id: str) -> None:
        """Count a record that is one too many of its instance."""
        self._later(lambda: self._refuse(capture_id))

    def settle(self, timeout_s: float) -> bool:
        """From any thread: whether all that was submitted so far is recorded, in this time at most."""
        if self._thread is None:
            return True
        done = threading.Event()

        def settled() -> None:
            self._settle(everything=True)  # also what waits for the next death of its kind
            done.set()

        self._waiting.put(settled)
        return done.wait(max(0.0, timeout_s))

    def warm_up(self) -> None:
        """A record is coming: load what it needs, while the one who asks reads the process."""
        self._later(_load)

    def recover(self) -> None:
        """Finish soon what killed agents left, if they left anything."""
        if leftovers(self._settings):
            self._later(self._recover)

    def _later(self, work: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()
        self._waiting.put(work)

    def finish(self) -> None:
        """Wait until all that was submitted is recorded."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (work := self._next()) is not None:
            self._guarded(work)
        self._guarded(lambda: self._settle(everything=True))

    def _next(self) -> Callable[[], None] | None:
        """What comes next: a record, or the settling of what was held back for a moment."""
        patience_s = self._sampling.patience_s if self._sampling else None
        try:
            return self._waiting.get(timeout=patience_s)
        except queue.Empty:
            return self._settle

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  a defect in one record must not cost the next
            say(f"diag: a record was lost to a defect of diag: {type(error).__name__}: {error}")

    def _record(self, evidence: Evidence, kind: str) -> None:
        # Late: an instance that lives well never pays for the report's code.
        from diag.agent.sampling import Sampling
        from diag.capture.reports import prepare

        prepared = prepare(evidence, settings=self._settings, kind=kind)
        if kind != "crash":
            self._keep(prepared)
            return
        self._sampling = self._sampling or Sampling()
        self._carry_out(self._sampling.offer(prepared))

    def _keep(self, prepared: Prepared) -> None:
        from diag.capture.reports import keep

        capture = prepared.capture
        try:
            keep(prepared, settings=self._settings)
        except DiagError as error:
            say(f"diag: the end of pid {capture.instance.pid} was seen but not kept: {error} {error.help_text}")
            return
        if capture.kind == "crash":
            say(announcement(capture))
        self._delivery.wake()

    def _settle(self, *, everything: bool = False) -> None:
        if self._sampling is not None:
            self._carry_out(self._sampling.settle(everything=everything))
            self._count()

    def _carry_out(self, settled: Iterable[Settled]) -> None:
        for one in settled:
            if not one.keep:
                self._counted.append(one)
                if len(self._counted) == COUNTED_AT_ONCE:
                    self._count()
                continue
            self._keep(one.prepared)
            for work in one.works:
                work()

    def _count(self) -> None:
        """Count in the ledger what is not kept, and only then let go of it."""
        from diag.capture.reports import count_dropped

        counted, self._counted = self._counted, []
        if counted:
            ids = [one.prepared.capture.capture_id for one in counted]
            count_dropped(SAMPLED, ids, settings=self._settings)
        for work in (work for one in counted for work in one.works):
            work()

    def _after(self, work: Callable[[], None], capture_id: str | None) -> None:
        if self._sampling is None or capture_id is None or not self._sampling.attach(capture_id, work):
            work()

    def _refuse(self, capture_id: str) -> None:
        from diag.capture.reports import count_dropped

        count_dropped(RATE, [capture_id], settings=self._settings)

    def _recover(self) -> None:
        from diag import spool

        try:
            # Black boxes first: what a draft was to become is taken from there, whole.
            count = recover(self._settings)
            if spool.recover(self._settings) or count:
                self._delivery.wake()
        except DiagError as error:
            say(f"diag: what an earlier agent left was not recovered: {error} {error.help_text}")


def _load() -> None:
    import diag.capture.reports
    import diag.upload.uploader  # noqa: F401


def announcement(recorded: Capture) -> str:
    """The one line that a crash adds to stderr."""
    instance = recorded.instance
    before = f" ({recorded.repeats:,} more like it before)" if recorded.repeats else ""
    said = f"{recorded.title}{before}; read it with: diag show {recorded.capture_id}"
    return f"diag: {instance.name}[{instance.pid}] {said}"


def say(line: str) -> None:
    """Write one line to stderr in one piece; a closed stderr is not our business."""
    try:
        os.write(2, f"{line}\n".encode(errors="replace"))
    except OSError:
        return
