"""What austin's two formats, text and MOJO, have in common: what its metrics count, and how its rounds make a clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.profiles.builder import Builder
from diag.profiles.model import PID, SAMPLES, STATE, THREAD_ID, Label, Recording, SampleType

_TYPES = {
    "wall": (SampleType("wall", "nanoseconds"),),
    "cpu": (SampleType("cpu", "nanoseconds"),),
    "memory": (SampleType("memory", "bytes"),),
    "full": (SampleType("memory", "bytes"), SampleType("wall", "nanoseconds")),
}


def builder_for(mode: str) -> Builder:
    """An empty profile of what this mode measures. Raises KeyError."""
    return Builder((SAMPLES, *_TYPES[mode]), timed=True)


class Rounds:
    """Adds samples, and gives each a moment.

    austin looks at all threads in turn and notes for each the time since the last round; so a thread that comes again,
    or another time, starts the next round.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._kinds = [kind.name for kind in builder.sample_types]
        self._seen: set[object] = set()
        self._now_ns = self._last_ns = 0
        self.invalid = 0

    def add(
        self, thread: tuple[int, int], frames: tuple[int, ...] | None, metrics: Mapping[str, int], state: str
    ) -> None:
        """One thread (pid, thread id) of one round; `frames` is None where the sample is invalid, and only counted.

        Metrics are austin's own: `time` in microseconds, `memory` in bytes.
        """
        time_ns = metrics.get("time", 0) * 1000
        if thread in self._seen or time_ns != self._last_ns or not self._seen:
            self._seen.clear()
            self._now_ns += time_ns
            self._last_ns = time_ns
        self._seen.add(thread)
        if frames is None:
            self.invalid += 1
            return
        known = {"samples": 1, "memory": metrics.get("memory", 0), "wall": time_ns, "cpu": time_ns}
        labels = self._builder.labels([Label(PID, thread[0]), Label(THREAD_ID, thread[1]), Label(STATE, state)])
        stack = self._builder.stack(frames)
        self._builder.add(stack, [known[kind] for kind in self._kinds], labels, self._now_ns)


def header(metadata: Mapping[str, str], invalid: int) -> dict[str, Any]:
    """The profile's header, from the `key: value` pairs that austin writes."""
    interval_us = int(metadata.get("interval", "0"))
    mode = metadata["mode"]
    kind = _TYPES[mode][-1]
    return {
        "recording": Recording(
            engine="austin",
            version=metadata.get("austin", ""),
            mode="wall" if mode == "full" else mode,
            rate_hz=1e6 / interval_us if interval_us > 0 else 0.0,
            invalid=invalid,
        ),
        "duration_ns": int(metadata.get("duration", "0")) * 1000,
        "period_type": kind if kind.unit == "nanoseconds" else None,
        "period": interval_us * 1000 if kind.unit == "nanoseconds" else 0,
        "default_type": kind.name,
    }
