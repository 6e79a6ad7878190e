"""Reads black boxes in tests, by layout.py alone."""

from __future__ import annotations

import marshal
from pathlib import Path
from typing import Any

from diag.probe.diag_probe import layout


class Box:
    """A black box's file, read now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = path.read_bytes()
        assert len(self.bytes) == layout.SIZE
        assert self.bytes.startswith(layout.MAGIC)

    def counter(self, at: int) -> int:
        """One of the header's counters."""
        return int.from_bytes(self.bytes[at : at + 8], "little")

    def record(self, at: int) -> Any:
        """The record at an offset, or None where it is empty."""
        length = int.from_bytes(self.bytes[at : at + 4], "little")
        return marshal.loads(self.bytes[at + 4 : at + 4 + length]) if length else None

    def _ring(self, at: int, count: int, size: int) -> list[Any]:
        return [self.record(at + number * size) for number in range(count)]

    @property
    def state(self) -> int:
        """RUNNING, LEFT_CLEANLY or RELINKED."""
        return self.bytes[layout.STATE_AT]

    @property
    def header(self) -> dict[str, Any]:
        """The HEADER record."""
        found = self.record(layout.HEADER_AT)
        assert isinstance(found, dict)
        return found

    @property
    def in_flight(self) -> list[tuple[Any, ...]]:
        """The requests in flight."""
        slots = self._ring(layout.SLOTS_AT, layout.SLOT_COUNT, layout.SLOT_SIZE)
        return [record for record in slots if record is not None]

    @property
    def finished(self) -> list[tuple[Any, ...]]:
        """The last finished requests, oldest first."""
        return self._in_order(self.counter(layout.FINISHED_AT), layout.RECENT_AT, layout.RECENT_COUNT, layout.SLOT_SIZE)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The last events, oldest first."""
        return self._in_order(
            self.counter(layout.EVENTS_AT), layout.EVENTS_RING_AT, layout.EVENT_COUNT, layout.EVENT_SIZE
        )

    def _in_order(self, written: int, at: int, count: int, size: int) -> list[Any]:
        ring = self._ring(at, count, size)
        return [ring[number % count] for number in range(max(0, written - count), written)]

    @property
    def fatal(self) -> dict[str, Any] | None:
        """The exception that ended the process."""
        last = self._last()
        return last if last and last["kind"] != "exit" else None

    @property
    def leaving(self) -> dict[str, Any] | None:
        """The sys.exit or os._exit by which the program left."""
        last = self._last()
        return last if last and last["kind"] == "exit" else None

    def _last(self) -> dict[str, Any] | None:
        found = self.record(layout.FATAL_AT)
        assert found is None or isinstance(found, dict)
        return found

    @property
    def heap(self) -> dict[str, Any] | None:
        """The last look at the heap."""
        found = self.record(layout.HEAP_AT)
        assert found is None or isinstance(found, dict)
        return found
