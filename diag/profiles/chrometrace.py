"""The trace events that py-spy's `chrometrace` consists of, to a profile with a moment for each sample.

Source: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (B, E and M events)
"""

from __future__ import annotations

from typing import Any

from diag.profiles import tags
from diag.profiles.builder import Builder
from diag.profiles.limits import document, reading
from diag.profiles.model import PID, THREAD, THREAD_ID, Frame, Label, Profile, Recording, SampleType
from diag.profiles.timeline import Timeline


def read(content: bytes) -> Profile:
    """The profile; the first event is its start. Raises BadProfile."""
    with reading("file of trace events"):
        found = document(content)
        events = found["traceEvents"] if isinstance(found, dict) else found
        reader = _Reader()
        for event in events:
            reader.take(event)
        return reader.builder.build(
            recording=Recording(engine=reader.engine), duration_ns=reader.last_ns, default_type="wall"
        )


class _Reader:
    def __init__(self) -> None:
        self.builder = Builder([SampleType("wall", "nanoseconds")], timed=True)
        self.engine = ""
        self.last_ns = 0
        self._start_us: float | None = None
        self._threads: dict[tuple[Any, Any], _Thread] = {}

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        phase = event["ph"]
        if phase not in ("B", "E", "M"):
            return
        key = event.get("pid"), event.get("tid")
        thread = self._threads.setdefault(key, _Thread(self.builder, *key))
        if phase == "M":
            if event["name"] == "thread_name":
                thread.tell(Label(THREAD, str(event["args"]["name"])))
            return
        self.engine = self.engine or str(event.get("cat") or "")
        if self._start_us is None:
            self._start_us = event["ts"]
        at = round((event["ts"] - self._start_us) * 1000)
        self.last_ns = max(self.last_ns, at)
        name, arguments = str(event.get("name")), event.get("args") or {}
        if phase == "E":
            thread.leave(name, at)
        else:
            thread.enter(Frame(name, str(arguments.get("filename") or ""), int(arguments.get("line") or 0)), at)


class _Thread:
    def __init__(self, builder: Builder, pid: Any, thread_id: Any) -> None:
        self._builder = builder
        self._labels = {PID: Label(PID, int(pid or 0)), THREAD_ID: Label(THREAD_ID, int(thread_id or 0))}
        self._timeline = Timeline(builder, builder.labels(self._labels.values()))

    def tell(self, *labels: Label) -> None:
        """What is known of the thread from now on."""
        if not labels:
            return
        self._labels |= {label.key: label for label in labels}
        self._timeline.labels = self._builder.labels(self._labels.values())

    def enter(self, frame: Frame, at: int) -> None:
        """A frame, or what names the thread in its place."""
        if not self._names(frame.function):
            self._timeline.open(self._builder.frame(frame), at)

    def leave(self, name: str, at: int) -> None:
        """The innermost frame."""
        if not self._names(name):
            self._timeline.close(at)

    def _names(self, name: str) -> bool:
        found = tags.parsed(name)
        self.tell(*found)
        return bool(found)
