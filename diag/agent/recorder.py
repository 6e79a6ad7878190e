"""Turns evidence into captures beside the loop, so that the next crash does not wait for the last one's report."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from diag.agent.delivery import Delivery
from diag.agent.recover import leftovers, recover
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import Evidence
from diag.model import Capture


class Recorder:
    """A thread that starts with the first record. What it writes is whole before `finish` returns."""

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._settings = settings
        self._delivery = delivery
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, evidence: Evidence, kind: str) -> None:
        """Record this soon."""
        self._later(lambda: self._record(evidence, kind))

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do this when all that was submitted is recorded."""
        if self._thread is None:
            work()
        else:
            self._waiting.put(work)

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
        while (work := self._waiting.get()) is not None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  a defect in one record must not cost the next
                say(f"diag: a record was lost to a defect of diag: {type(error).__name__}: {error}")

    def _record(self, evidence: Evidence, kind: str) -> None:
        # Late: an instance that lives well never pays for the report's code.
        from diag.capture.reports import record

        try:
            recorded = record(evidence, settings=self._settings, kind=kind)
        except DiagError as error:
            say(f"diag: the end of pid {evidence.instance.pid} was seen but not kept: {error} {error.help_text}")
            return
        if kind == "crash":
            say(announcement(recorded))
        self._delivery.wake()

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
    return f"diag: {instance.name}[{instance.pid}] {recorded.title}; read it with: diag show {recorded.capture_id}"


def say(line: str) -> None:
    """Write one line to stderr in one piece; a closed stderr is not our business."""
    try:
        os.write(2, f"{line}\n".encode(errors="replace"))
    except OSError:
        return
