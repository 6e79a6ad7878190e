"""CPU profiles of a live Node by V8's own sampler, through the inspector."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from diag.collectors import inspector
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.inspector import Gone
from diag.errors import ToolFailed, WrongEngine
from diag.model import Missing

SLICE_S = 5.0  # when the process ends, what V8 has not given out yet goes with it
_LOOK_S = 0.1


class NodeProfile:
    """`Profiler.start` and `stop`, again and again, so that an end of the process costs the last seconds only."""

    engine = "node"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is Node, it catches SIGUSR1, and its port is free; or its inspector is open."""
        inspector.check_node(subject)
        if self._asked.mode == "gil" or self._asked.native:
            raise WrongEngine("V8 samples JavaScript on its main thread, without native frames.", "Try --engine perf.")
        return f"V8 samples its main thread; {inspector.check(subject)}"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises ToolFailed where there are none."""
        asked, slices, pause_s = self._asked, list[dict[str, Any]](), 0.0
        began, ended, version = time.monotonic(), False, ""
        with inspector.opened(subject.pid) as session:
            try:
                version = session.version
                session.call("Profiler.enable")
                session.call("Profiler.setSamplingInterval", interval=round(1e6 / asked.rate_hz))
                began = time.monotonic()
                while not watch.stop.is_set() and time.monotonic() - began < asked.duration_s:
                    asked_at = time.monotonic()
                    session.call("Profiler.start")
                    pause_s += time.monotonic() - asked_at
                    self._wait(began, watch)
                    asked_at = time.monotonic()
                    slices.append(session.call("Profiler.stop")["profile"])
                    pause_s += time.monotonic() - asked_at
            except Gone:
                ended = True
        if not slices:
            raise ToolFailed(f"Process {subject.pid} ended, or closed its inspector, before V8 gave its samples.")
        path = folder / ".node.cpuprofile"
        whole = joined(slices)
        path.write_text(json.dumps(whole))
        # V8's clock on Linux is CLOCK_MONOTONIC, in microseconds.
        started = time.time() - time.monotonic() + whole["startTime"] / 1e6
        missing = (Missing("profile.samples", f"up to {SLICE_S:.0f} s before the end are lost"),) if ended else ()
        made = Made(path, "profile", "cpuprofile", "application/json", started)
        return Collected((made,), f"node {version}", pause_s=pause_s, incomplete=missing)

    def _wait(self, began: float, watch: Watch) -> None:
        """Until the slice, or all of it, is over."""
        until = min(time.monotonic() + SLICE_S, began + self._asked.duration_s)
        while time.monotonic() < until and not watch.stop.wait(_LOOK_S):
            elapsed_s = time.monotonic() - began
            watch.show(elapsed_s / self._asked.duration_s, f"about {int(elapsed_s * self._asked.rate_hz)} samples")


def joined(slices: list[dict[str, Any]]) -> dict[str, Any]:
    """Profiles that V8 took one after the other as one, with their moments."""
    first = slices[0]
    nodes: list[dict[str, Any]] = []
    samples: list[int] = []
    deltas: list[int] = []
    at = int(first["startTime"])
    for one in slices:
        offset = len(nodes) and max(node["id"] for node in nodes)
        for node in one["nodes"]:
            children = [child + offset for child in node.get("children") or ()]
            nodes.append({**node, "id": node["id"] + offset, "children": children})
        moment = int(one["startTime"])
        for node, delta in zip(one["samples"], one["timeDeltas"], strict=True):
            moment += delta
            samples.append(node + offset)
            deltas.append(moment - at)
            at = moment
    ends = {"startTime": first["startTime"], "endTime": slices[-1]["endTime"]}
    return {"nodes": nodes, "samples": samples, "timeDeltas": deltas, **ends}
