"""Reads a black box: what the probe wrote inside the process, readable while it lives and after it is gone."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diag.collectors.unmarshal import Torn, loads
from diag.evidence import ExceptionSeen, Frame, Request, Thread, Witness
from diag.model import Link, stamp
from diag.probe.diag_probe import layout


class Box:
    """One look at a black box: a copy of its bytes, so that a writer cannot change them under the reader."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def open(cls, path: Path) -> Box | None:
        """The box at this path, or None where there is none that is whole. Never follows a link, never blocks."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(layout.SIZE)
        whole = len(content) == layout.SIZE and content.startswith(layout.MAGIC)
        return cls(content) if whole else None

    @classmethod
    def glance(cls, path: Path) -> Box | None:
        """Header and requests in flight alone, for who looks often; None where it is none, or another program's."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            content = file.read(layout.RECENT_AT) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        box = (
            cls(content) if content and len(content) == layout.RECENT_AT and content.startswith(layout.MAGIC) else None
        )
        return None if box is None or box.replaced else box

    @property
    def left_cleanly(self) -> bool:
        """Whether the interpreter ran its exit handlers, or the program left by os._exit(0)."""
        return self._content[layout.STATE_AT] == layout.LEFT_CLEANLY

    @property
    def replaced(self) -> bool:
        """Whether the process has become another program since."""
        return self._content[layout.STATE_AT] == layout.REPLACED

    @property
    def events_written(self) -> int:
        """How many events the probe ever wrote to the ring."""
        return self._counter(layout.EVENTS_AT)

    def header(self) -> dict[str, Any]:
        """What the probe said of its interpreter when it was installed."""
        return _mapping(self._record(layout.HEADER_AT, layout.HEADER_SIZE))

    def fatal(self) -> dict[str, Any] | None:
        """The exception record of what ends the process, where one was written."""
        record = self._last()
        return record if record and record.get("kind") != "exit" else None

    def leaving(self) -> dict[str, Any] | None:
        """The record of the sys.exit or os._exit that was called last, where one was written."""
        record = self._last()
        return record if record and record.get("kind") == "exit" else None

    def _last(self) -> dict[str, Any] | None:
        record = _mapping(self._record(layout.FATAL_AT, layout.FATAL_SIZE))
        return record if isinstance(record.get("exception"), dict) else None

    def events(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """The exception records still in the ring that were written after the first `since`, oldest first."""
        written = self.events_written
        for number in range(max(since, written - layout.EVENT_COUNT), written):
            place = layout.EVENTS_RING_AT + number % layout.EVENT_COUNT * layout.EVENT_SIZE
            event = _mapping(self._record(place, layout.EVENT_SIZE))
            if isinstance(event.get("exception"), dict):
                yield event

    def witness(self) -> Witness:
        """Everything the report wants to know, typed."""
        recent = (self._request(layout.RECENT_AT, number) for number in range(layout.RECENT_COUNT))
        return Witness(
            in_flight=tuple(sorted(self.in_flight().values(), key=lambda r: r.started)),
            finished=tuple(sorted((r for r in recent if r), key=lambda r: r.started)),
            events=tuple(_event_line(event) for event in self.events()),
            heap=_mapping(self._record(layout.HEAP_AT, layout.HEAP_SIZE)),
            runtime=self.header(),
            left_cleanly=self.left_cleanly,
            requests_started=self._counter(layout.STARTED_AT),
            requests_finished=self._counter(layout.FINISHED_AT),
            dropped=self._counter(layout.DROPPED_AT),
        )

    def in_flight(self) -> dict[int, Request]:
        """The requests in flight, by the number of their slot."""
        slots = ((number, self._request(layout.SLOTS_AT, number)) for number in range(layout.SLOT_COUNT))
        return {number: request for number, request in slots if request}

    def _counter(self, offset: int) -> int:
        return int(struct.unpack_from("<Q", self._content, offset)[0])

    def _request(self, start: int, number: int) -> Request | None:
        record = self._record(start + number * layout.SLOT_SIZE, layout.SLOT_SIZE)
        if not isinstance(record, tuple) or len(record) not in (7, 9):
            return None
        request_id, trace_id, span_id, method, path, started, thread_id = record[:7]
        moment = _moment(started)
        if moment is None or not isinstance(thread_id, int):
            return None
        duration, status = record[7:] if len(record) == 9 else (None, None)
        return Request(
            started=moment,
            thread_id=thread_id,
            method=str(method or ""),
            path=str(path or ""),
            request_id=_text(request_id),
            trace_id=_text(trace_id),
            span_id=_text(span_id),
            duration_s=duration if isinstance(duration, float) else None,
            status=status if isinstance(status, int) else None,
        )

    def _record(self, offset: int, size: int) -> Any:
        length = struct.unpack_from("<I", self._content, offset)[0]
        if not 0 < length <= size - 4:
            return None
        try:
            return loads(self._content[offset + 4 : offset + 4 + length])
        except Torn:
            return None


def read(path: Path) -> Witness | None:
    """What the black box at this path says, or None where there is none that is whole."""
    box = Box.open(path)
    return box.witness() if box else None


def requests_finished(path: Path | None) -> int | None:
    """How many requests the process has finished, at the cost of eight bytes; None where there is no such box."""
    if path is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.pread(descriptor, 8, layout.FINISHED_AT)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    count = int.from_bytes(content, "little")
    return count if len(content) == 8 and count < 1 << 63 else None


def exception_seen(record: Mapping[str, Any]) -> ExceptionSeen:
    """The typed exception of a record's `exception` entry; tolerant of anything a torn record may hold."""
    return ExceptionSeen(
        type=str(record.get("type") or "?"),
        module=_text(record.get("module")),
        message=str(record.get("message") or ""),
        frames=frames_seen(record.get("frames")),
        cause=_nested(record.get("cause")),
        context=_nested(record.get("context")),
        exceptions=tuple(exception_seen(item) for item in _items(record.get("exceptions")) if isinstance(item, dict)),
        notes=tuple(str(note) for note in _items(record.get("notes"))),
    )


def frames_seen(records: Any) -> tuple[Frame, ...]:
    """The typed frames of a list of FRAME records, innermost first."""
    frames = []
    for record in filter(_items, _items(records)):
        function, file, line, module, local_values = (*record, None, None, None, None, None)[:5]
        named = {str(k): str(v) for k, v in local_values.items()} if isinstance(local_values, dict) else None
        frames.append(
            Frame(str(function), _text(file), line if isinstance(line, int) else None, _text(module), "python", named)
        )
    return tuple(frames)


def threads_seen(fatal: Mapping[str, Any], pid: int) -> tuple[Thread, ...]:
    """All threads of an exception record, the one that raised first, with the exception's own frames."""
    told_id = fatal.get("tid")
    crashed = told_id if isinstance(told_id, int) else pid
    raised = exception_seen(fatal["exception"])
    told = [thread for thread in _items(fatal.get("threads")) if len(_items(thread)) == 3]
    names = {tid: _text(name) for tid, name, _ in told if isinstance(tid, int)}
    first = Thread(crashed, names.get(crashed), crashed=True, frames=raised.frames)
    others = (
        Thread(tid if isinstance(tid, int) else 0, _text(name), frames=frames_seen(frames))
        for tid, name, frames in told
        if tid != crashed
    )
    return (first, *others)


def request_link(record: Mapping[str, Any]) -> Link | None:
    """The request an exception record belongs to."""
    request = record.get("request")
    if not isinstance(request, tuple) or len(request) != 3 or not any(request):
        return None
    return Link(*(_text(part) for part in request))


def moment_of(record: Mapping[str, Any]) -> datetime | None:
    """The time a record was written, aware, UTC."""
    return _moment(record.get("time"))


def _nested(record: Any) -> ExceptionSeen | None:
    return exception_seen(record) if isinstance(record, dict) else None


def _event_line(event: Mapping[str, Any]) -> dict[str, Any]:
    raised = exception_seen(event["exception"])
    moment = moment_of(event)
    return {
        "time": stamp(moment) if moment else None,
        "kind": str(event.get("kind") or "event"),
        "message": f"{raised.type}: {raised.message}" if raised.message else raised.type,
    }


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
