"""V8's `.cpuprofile` and `.heapprofile`, which Node and the inspector write, to a profile.

Source: https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#type-Profile and HeapProfiler
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from diag.errors import BadProfile
from diag.profiles.builder import MAX_DEPTH, Builder
from diag.profiles.limits import document, reading
from diag.profiles.model import COLLECTING, IDLE, SAMPLES, Frame, Profile, Recording, SampleType, Stack

_ROOT = "(root)"
_STATES = {"(idle)": IDLE, "(garbage collector)": COLLECTING}
_CPU = (SAMPLES, SampleType("wall", "nanoseconds"))
_SPACE = SampleType("inuse_space", "bytes")


def read_cpu(content: bytes) -> Profile:
    """The CPU profile, with a moment for each sample. Raises BadProfile.

    V8 says of each sample how long it lasted; a time that runs backwards counts as none. Of the lines that were hit,
    `positionTicks`, V8 keeps only sums; so a function's line is the one that was hit most, where it is the innermost.
    """
    with reading("CPU profile of V8"):
        found = document(content)
        nodes = {int(node["id"]): node for node in found["nodes"]}
        builder = Builder(_CPU, timed=True)
        stacks = _CpuStacks(builder, nodes)
        samples, deltas = found["samples"], found["timeDeltas"]
        if len(samples) != len(deltas):
            raise BadProfile(f"There are {len(samples)} samples and {len(deltas)} time deltas.")
        start, end = int(found["startTime"]), int(found["endTime"])
        moments = [int(moment) for moment in accumulate(deltas)]
        # A delta leads to its sample; so a sample lasts until the next one, and the last until the end.
        until = [*moments[1:], max(end - start, moments[-1])] if moments else []
        for node, moment, then in zip(samples, moments, until, strict=True):
            stack, labels = stacks.of(int(node))
            builder.add(stack, (1, max(then - moment, 0) * 1000), labels, moment * 1000)
        period_us = max(end - start, 0) // len(samples) if samples else 0
        return builder.build(
            recording=Recording(engine="v8", mode="wall", rate_hz=round(1e6 / period_us, 1) if period_us else 0.0),
            duration_ns=max(end - start, 0) * 1000,
            period_type=_CPU[1],
            period=period_us * 1000,
            default_type="wall",
        )


def read_heap(content: bytes) -> Profile:
    """The sampled heap: how many bytes are still in use by where they were allocated. Raises BadProfile."""
    with reading("heap profile of V8"):
        builder = Builder([_SPACE])
        waiting: list[tuple[Mapping[str, Any], Stack]] = [(document(content)["head"], ())]
        while waiting:
            node, outer = waiting.pop()
            stack = _below(outer, builder, node["callFrame"])
            size = int(node["selfSize"])
            if size:
                builder.add(builder.stack(stack), (size,))
            waiting += [(child, stack) for child in node.get("children") or ()]
        return builder.build(recording=Recording(engine="v8", mode="memory"), default_type=_SPACE.name)


class _CpuStacks:
    """The stack and the labels of each node of the tree, worked out once and only where it was hit."""

    def __init__(self, builder: Builder, nodes: Mapping[int, Mapping[str, Any]]) -> None:
        self._builder = builder
        self._nodes = nodes
        self._parents: dict[int, int] = {}
        for key, node in nodes.items():
            self._parents |= dict.fromkeys(map(int, node.get("children") or ()), key)
            if "parent" in node:
                self._parents[key] = int(node["parent"])
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, node: int) -> tuple[int, int]:
        """(stack, labels)."""
        if node not in self._known:
            name = str(self._nodes[node]["callFrame"]["functionName"])
            labels = self._builder.labels([_STATES[name]] if name in _STATES else [])
            self._known[node] = self._builder.stack(self._stack(node)), labels
        return self._known[node]

    def _stack(self, node: int) -> Stack:
        frames = [self._frame(node, _hit_line(self._nodes[node]))]
        above = self._parents.get(node)
        while above is not None:
            if len(frames) > MAX_DEPTH:
                raise BadProfile(f"A stack is more than {MAX_DEPTH} frames deep, or goes in a circle.")
            frames.append(self._frame(above, 0))
            above = self._parents.get(above)
        return tuple(self._builder.frame(frame) for frame in frames if frame.function != _ROOT)

    def _frame(self, node: int, line: int) -> Frame:
        return _frame(self._nodes[node]["callFrame"], line)


def _below(outer: Stack, builder: Builder, call: Mapping[str, Any]) -> Stack:
    frame = _frame(call, 0)
    if len(outer) > MAX_DEPTH:
        raise BadProfile(f"A stack is more than {MAX_DEPTH} frames deep.")
    return outer if frame.function == _ROOT and not outer else (builder.frame(frame), *outer)


def _hit_line(node: Mapping[str, Any]) -> int:
    ticks = node.get("positionTicks") or ()
    return int(max(ticks, key=lambda one: one["ticks"])["line"]) if ticks else 0


def _frame(call: Mapping[str, Any], line: int) -> Frame:
    """V8 counts lines and columns from 0; -1 is unknown. The line is the function's own where no other is known."""
    file = str(call.get("url") or "").removeprefix("file://")
    start, column = int(call.get("lineNumber", -1)) + 1, int(call.get("columnNumber", -1)) + 1
    name = str(call["functionName"]) or "(anonymous)"
    return Frame(name, file, line or start, 0 if line else column, start_line=start)
