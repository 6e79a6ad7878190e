"""The heap of a live Node by V8's own means, through the inspector: sampled allocations, or a snapshot of all of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from diag.collectors import inspector
from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import LOOK_EVERY_S, Collected, Made, Subject, Watch
from diag.collectors.inspector import Gone, Inspector
from diag.collectors.mappings import Mappings
from diag.errors import ToolFailed, UsageError
from diag.model import Missing

INTERVAL_BYTES = 32_768  # V8's own
LOOK_S = 5.0  # what V8 has not given out yet goes with the process
MOST_SNAPSHOT_BYTES = 256 * 1024 * 1024


class NodeHeap:
    """`HeapProfiler.startSampling` for a time, and `takeHeapSnapshot` where that is asked for."""

    engine = "node"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is Node, it catches SIGUSR1, and its port is free; or its inspector is open."""
        inspector.check_node(subject)
        if not self._asked.recorded_s and not self._asked.snapshot:
            raise UsageError("Allocations are sampled for at least a second.", "Say -d 1 or more, or --snapshot.")
        stops = "; the snapshot stops it, seconds for each 100 MB, and takes as much memory again in the process"
        words = f"V8 samples an allocation every {INTERVAL_BYTES // 1024} KiB; {inspector.check(subject)}"
        return words + (stops if self._asked.snapshot else "")

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """What was allocated in this time and is still in use. Raises ToolFailed where there is nothing."""
        recording = _Recording(self._asked, folder)
        with Mappings(subject, twice=bool(self._asked.recorded_s)) as mappings:
            with inspector.opened(subject.pid) as session:
                try:
                    recording.record(session, watch)
                except Gone:
                    if not recording.made:
                        raise ToolFailed(f"Process {subject.pid} ended, or closed its inspector.") from None
                    lost = f"up to {LOOK_S:.0f} s before the end are lost"
                    recording.missing.append(Missing("memory.allocations", lost))
        facts = {"mappings": mappings.told(), "duration_s": recording.recorded_s, "heap": recording.heap}
        engine = f"node {recording.version}".strip()
        missing = (*recording.missing, *mappings.missing)
        return Collected(tuple(recording.made), engine, facts, recording.pause_s, missing)


class _Recording:
    """What V8 gave out so far."""

    def __init__(self, asked: MemoryAsked, folder: Path) -> None:
        self._asked = asked
        self._folder = folder
        self.version = ""
        self.made: list[Made] = []
        self.missing: list[Missing] = []
        self.heap: dict[str, Any] = {}
        self.pause_s = 0.0
        self.recorded_s = 0.0

    def record(self, session: Inspector, watch: Watch) -> None:
        """Sample, then take the snapshot. Raises Gone."""
        self.version = session.version
        session.call("HeapProfiler.enable")
        before = _usage(session)
        if self._asked.recorded_s:
            self._sample(session, watch)
        after = _usage(session)
        self.heap = {**after, "growth": {name: after[name] - before[name] for name in after}}
        if self._asked.snapshot:
            watch.show(1.0, "the snapshot")
            self._snapshot(session)

    def _sample(self, session: Inspector, watch: Watch) -> None:
        began, started, wanted_s = time.monotonic(), time.time(), self._asked.recorded_s
        self._standing(session, "HeapProfiler.startSampling", samplingInterval=INTERVAL_BYTES)
        path = self._folder / ".node.heapprofile"
        while time.monotonic() < began + wanted_s and not watch.stop.is_set():
            until = min(began + wanted_s, time.monotonic() + LOOK_S)
            while time.monotonic() < until and not watch.stop.wait(LOOK_EVERY_S):
                watch.show((time.monotonic() - began) / wanted_s, "V8 samples its allocations")
            path.write_text(json.dumps(self._standing(session, "HeapProfiler.getSamplingProfile")["profile"]))
            self.recorded_s = time.monotonic() - began
            self.made = [Made(path, "profile", "heapprofile", "application/json", started)]
        self._standing(session, "HeapProfiler.stopSampling")

    def _snapshot(self, session: Inspector) -> None:
        path, size = self._folder / ".node.heapsnapshot", 0
        with path.open("w", encoding="utf-8") as file:

            def heard(event: dict[str, Any]) -> None:
                nonlocal size
                chunk = event.get("params", {}).get("chunk") or ""
                size += len(chunk)
                if size <= MOST_SNAPSHOT_BYTES:
                    file.write(chunk)

            try:
                self._standing(session, "HeapProfiler.takeHeapSnapshot", heard, reportProgress=False)
            except ToolFailed as error:
                self.missing.append(Missing("memory.snapshot", str(error)))
        if size and size <= MOST_SNAPSHOT_BYTES and not self.missing:
            self.made.append(Made(path, "heapsnapshot", "v8-heapsnapshot", "application/json"))
            return
        path.unlink()
        if size > MOST_SNAPSHOT_BYTES:
            limit = f"it is larger than {MOST_SNAPSHOT_BYTES >> 20} MiB"
            self.missing.append(Missing("memory.snapshot", limit))

    def _standing(self, session: Inspector, method: str, *heard: Any, **parameters: Any) -> dict[str, Any]:
        """Call what keeps the main thread until it answers."""
        began = time.monotonic()
        try:
            return session.call(method, *heard, **parameters)
        finally:
            self.pause_s += time.monotonic() - began


def _usage(session: Inspector) -> dict[str, int]:
    """What V8's heap takes: `used` of `total`, and `external` memory that its objects hold."""
    found = session.call("Runtime.getHeapUsage")
    told = {"used": found.get("usedSize", 0), "total": found.get("totalSize", 0)}
    told["external"] = int(found.get("backingStorageSize", 0)) + int(found.get("embedderHeapUsedSize", 0))
    return {name: int(size) for name, size in told.items()}
