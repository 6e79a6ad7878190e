"""Speedscope's JSON to a profile: sampled and evented, all profiles of a file together.

Source: https://www.speedscope.app/file-format-schema.json

What diag itself wrote comes back whole, from the key `diag` (see `diag.profiles.speedscope_write`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from diag.errors import BadProfile
from diag.profiles import recording
from diag.profiles.builder import Builder
from diag.profiles.limits import document, reading
from diag.profiles.model import NO_TIME, PID, THREAD, THREAD_ID, Frame, Label, Profile, Recording, SampleType
from diag.profiles.timeline import Timeline

_NANOSECONDS = {"nanoseconds": 1, "microseconds": 1_000, "milliseconds": 1_000_000, "seconds": 1_000_000_000}
_TYPES = {"bytes": SampleType("memory", "bytes"), "none": SampleType("samples", "count")}
_TIME = SampleType("time", "nanoseconds")
# py-spy names a profile after what it is of.
_NAME = re.compile(r'(?:Process (\d+) ?)?(?:Thread (\d+) "(.*)")?', re.DOTALL)


def read(content: bytes) -> Profile:
    """The profile. Raises BadProfile."""
    with reading("speedscope file"):
        return _Reader(document(content)).profile()


class _Reader:
    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._ours: Mapping[str, Any] = found.get("diag") or {}
        profiles = found["profiles"]
        told = self._ours.get("profiles") or [{} for _ in profiles]
        self._parts = list(zip(profiles, told, strict=True))
        types = dict.fromkeys(_type(one, ours) for one, ours in self._parts)
        if not types:
            raise BadProfile("This speedscope file has no profile.")
        self._timed = any(one["type"] == "evented" or "times" in ours for one, ours in self._parts)
        self._builder = Builder(types, timed=self._timed)
        self._frames = [self._builder.frame(_frame(one)) for one in found["shared"]["frames"]]

    def profile(self) -> Profile:
        """The profile, all of it read."""
        sets = [self._builder.labels(Label(*one) for one in labels) for labels in self._ours.get("label_sets", [])]
        before: dict[int, tuple[Any, int]] = {}
        rows: list[_Row] = []
        for one, ours in self._parts:
            if one["type"] == "evented":
                self._add_events(one)
            else:
                self._add_samples(one, ours, sets, rows, before)
        for row in rows:
            self._builder.add(row.stack, row.values, row.labels, row.time_ns)
        return self._builder.build(**self._header())

    def _add_samples(self, one: Any, ours: Any, sets: list[int], rows: list[_Row], before: dict[Any, Any]) -> None:
        """`before`: the rows that the thread's profile of another type made already, which this one adds a value to."""
        column = self._builder.sample_types.index(_type(one, ours))
        scale = _NANOSECONDS.get(one["unit"], 1) if "unit" not in ours else 1
        values = ours.get("values") or [round(weight * scale) for weight in one["weights"]]
        if "thread" in ours and ours["thread"] in before:
            first = before[ours["thread"]]
            for row, value in zip(rows[first : first + len(values)], values, strict=True):
                row.values[column] = value
            return
        before[ours.get("thread")] = len(rows)
        labels = ours.get("labels", self._labels(one["name"]))
        told = [sets[index] for index in labels] if isinstance(labels, list) else None
        same = 0 if told is not None else sets[labels] if ours else labels
        times = ours.get("times") or [NO_TIME] * len(values)
        for index, (stack, value) in enumerate(zip(one["samples"], values, strict=True)):
            row = _Row(self._stack(stack), [0] * len(self._builder.sample_types), told[index] if told else same)
            row.values[column] = value
            row.time_ns = times[index]
            rows.append(row)

    def _stack(self, places: Any) -> int:
        return self._builder.stack(tuple(self._place(place) for place in reversed(places)))

    def _place(self, index: int) -> int:
        if index < 0:
            raise BadProfile(f"A stack names frame {index}.")
        return self._frames[index]

    def _add_events(self, one: Any) -> None:
        scale = _NANOSECONDS.get(one["unit"], 1)
        column = self._builder.sample_types.index(_type(one, {}))
        timeline = Timeline(self._builder, self._labels(one["name"]), column)
        for event in one["events"]:
            at = round(event["at"] * scale)
            if event["type"] == "O":
                timeline.open(self._place(event["frame"]), at)
            else:
                timeline.close(at)

    def _labels(self, name: str) -> int:
        matched = _NAME.fullmatch(name)
        if matched is None or not any(matched.groups()):
            return self._builder.labels([Label(THREAD, name)])
        pid, thread_id, thread = matched.groups()
        numbers = ((PID, pid), (THREAD_ID, thread_id))
        return self._builder.labels(
            [*(Label(key, int(number)) for key, number in numbers if number), Label(THREAD, thread or "")]
        )

    def _header(self) -> dict[str, Any]:
        ours = self._ours
        taken, _ = recording.found([ours["recording"]]) if ours.get("recording") else (self._foreign(), ())
        period_type = ours.get("period_type")
        return {
            "recording": taken,
            "start_ns": int(ours.get("start_ns", 0)),
            "duration_ns": int(ours.get("duration_ns", 0)),
            "period_type": SampleType(*period_type) if period_type else None,
            "period": int(ours.get("period", 0)),
            "default_type": str(ours.get("default_type", "")),
            "comments": tuple(map(str, ours.get("comments", ()))),
        }

    def _foreign(self) -> Recording:
        engine, _, version = str(self._found.get("exporter") or "").partition("@")
        return Recording(engine=engine, version=version) if not self._ours else Recording()


class _Row:
    __slots__ = ("labels", "stack", "time_ns", "values")

    def __init__(self, stack: int, values: list[int], labels: int) -> None:
        self.stack, self.values, self.labels = stack, values, labels
        self.time_ns = NO_TIME


def _type(one: Mapping[str, Any], ours: Mapping[str, Any]) -> SampleType:
    if "unit" in ours:
        return SampleType(str(ours["type"]), str(ours["unit"]))
    return _TIME if one["unit"] in _NANOSECONDS else _TYPES[one["unit"]]


def _frame(one: Mapping[str, Any]) -> Frame:
    numbers: Iterable[Any] = (one.get("line"), one.get("col"))
    line, column = (int(number) if number else 0 for number in numbers)
    return Frame(str(one["name"]), str(one.get("file") or ""), line, column)
