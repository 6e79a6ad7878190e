"""Turns evidence into captures beside the loop, so that the next crash does not wait for the last one's report."""

from __future__ import annotations

import os
import queue
import threading

from diag.agent.delivery import Delivery
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import Evidence
from diag.model import Capture


class Recorder:
    """A thread that starts with the first record. What it writes is whole before `finish` returns."""

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._settings = settings
        self._delivery = delivery
        self._waiting: queue.SimpleQueue[tuple[Evidence, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, evidence: Evidence, kind: str) -> None:
        """Record this soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()
        self._waiting.put((evidence, kind))

    def finish(self) -> None:
        """Wait until all that was submitted is recorded."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        # Late: an instance that lives well never pays for the report's code.
        from diag import capture

        while (job := self._waiting.get()) is not None:
            evidence, kind = job
            try:
                recorded = capture.record(evidence, settings=self._settings, kind=kind)
            except DiagError as error:
                say(f"diag: the end of pid {evidence.instance.pid} was seen but not kept: {error} {error.help_text}")
                continue
            if kind == "crash":
                say(announcement(recorded))
            self._delivery.wake()


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
