"""The JavaScript stack of a live Node, by one sample of V8's own profiler: nothing is paused for a debugger.

`Profiler.start` takes a sample of what runs right then, also in the midst of a loop; a few milliseconds more show what
runs on the event loop. When that is nothing, Node's own list of what keeps it alive says what it waits for.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from diag.collectors import inspector
from diag.collectors.inspector import Gone, Inspector
from diag.errors import ToolFailed
from diag.evidence import Frame, Thread, Wait

SAMPLED_S = 0.02
INTERVAL_US = 1000
_OUTSIDE = ("(root)", "(program)", "(idle)", "(garbage collector)")
_RESOURCES = "JSON.stringify(process.getActiveResourcesInfo ? process.getActiveResourcesInfo() : [])"
_MOST_NAMED = 6


def dump(pid: int) -> tuple[Thread, float]:
    """The main thread's stack, and for how long V8 was busy with us. Raises ToolFailed, WrongEngine, CannotAttach."""
    try:
        with inspector.opened(pid) as session:
            return sample(session, pid)
    except Gone as error:
        raise ToolFailed(f"Process {pid} ended, or closed its inspector, before it was read.") from error


def sample(session: Inspector, pid: int) -> tuple[Thread, float]:
    """The same, in a session that is open. Raises Gone, ToolFailed."""
    session.call("Profiler.enable")
    session.call("Profiler.setSamplingInterval", interval=INTERVAL_US)
    began = time.monotonic()
    session.call("Profiler.start")
    busy_s = time.monotonic() - began
    time.sleep(SAMPLED_S)
    began = time.monotonic()
    profile = session.call("Profiler.stop")["profile"]
    waits_for = _resources(session)
    busy_s += time.monotonic() - began
    frames = stack(profile)
    wait = None if frames else Wait("poll", f"the event loop waits{waits_for}")
    return Thread(pid, "main", state="running" if frames else "idle", frames=frames, waiting=wait), busy_s


def stack(profile: dict[str, Any]) -> tuple[Frame, ...]:
    """The frames of the last sample that has any, innermost first; none where V8 was idle throughout.

    What the inspector itself runs (`Runtime.evaluate`) has no stack of the program's.
    """
    nodes = {node["id"]: node for node in profile["nodes"]}
    parents = {child: node["id"] for node in profile["nodes"] for child in node.get("children") or ()}
    for sample in reversed(profile["samples"]):
        frames, node = [], sample
        while node in parents:
            frames.append(nodes[node]["callFrame"])
            node = parents[node]
        if frames and frames[0]["functionName"] not in _OUTSIDE:
            return tuple(_frame(frame) for frame in frames if frame["functionName"] not in _OUTSIDE)
    return ()


def _frame(frame: dict[str, Any]) -> Frame:
    line = frame["lineNumber"]  # from 0; -1 where V8 knows none
    return Frame(
        frame["functionName"] or "(anonymous)",
        frame["url"].removeprefix("file://") or None,
        line + 1 if line >= 0 else None,
        language="javascript",
    )


def _resources(session: Inspector) -> str:
    """` (2 TCPSocketWrap, 1 Timeout)`: what keeps Node's event loop alive, by Node's names."""
    found = session.call("Runtime.evaluate", expression=_RESOURCES, returnByValue=True)["result"].get("value")
    counts = Counter(json.loads(found)) if isinstance(found, str) else Counter[str]()
    named = ", ".join(f"{count} {name}" for name, count in counts.most_common(_MOST_NAMED))
    return f" ({named})" if named else ""
