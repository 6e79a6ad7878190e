"""What the index takes in and gives out: plain frozen records, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from diag.model import Capture, Link, parse_stamp, stamp

CHANCE = 2**20  # numbers in one millisecond
HOUR_MS = 3_600_000
LAST_MS = 2**43 - 1  # until the year 2248 a number fits into 63 bits


def number_of(capture: Capture) -> int:
    """The capture's place in time: its milliseconds since 1970, and the first 20 random bits of its id.

    Those of a UUIDv7 are the 12 before the variant and 8 behind it (RFC 9562, section 5.7).
    """
    value = int(capture.capture_id.replace("-", ""), 16)
    return number_at(parse_stamp(capture.time)) + ((value >> 64 & 0xFFF) << 8 | value >> 54 & 0xFF)


def number_at(moment: datetime) -> int:
    """The first number of this millisecond."""
    return max(0, min(round(moment.timestamp() * 1000), LAST_MS)) * CHANCE


def hour_of(number: int) -> int:
    """The hour since 1970 that the number falls into."""
    return number // (CHANCE * HOUR_MS)


def time_of(number: int) -> str:
    """The time that the number stands for, as a `model.stamp` text."""
    return stamp(datetime.fromtimestamp(number // CHANCE / 1000, UTC))


@dataclass(frozen=True, slots=True)
class Entry:
    """A capture as it goes into the index. `manifest` is its JSON text, `words` is what the search looks at."""

    capture: Capture
    manifest: str
    words: str
    stack: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """A capture as lists show it."""

    capture_id: str
    time: str
    kind: str
    level: str | None
    trigger: str
    title: str
    cause: str | None
    sentence: str | None
    fingerprint: str | None
    service: str
    name: str
    instance_id: str
    host: str
    pid: int
    start_time: str
    runtime: str
    size_bytes: int
    incomplete: int
    repeats: int = 0
    stack: tuple[Mapping[str, Any], ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def headline(self) -> str:
        """The line that names the capture: its title, or its verdict, or what triggered it."""
        return self.title or self.sentence or f"{self.kind} ({self.trigger})"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The captures of one fingerprint. `trend` counts them in equal spans of time, oldest first.

    `partial` says that only the newest of those that match were counted, `more_instances` that so many and more saw it.
    """

    fingerprint: str
    count: int
    first_seen: str
    last_seen: str
    instances: int
    latest: CaptureRow
    trend: tuple[int, ...] = ()
    partial: bool = False
    more_instances: bool = False


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance and how much was captured of it; `partial` as in GroupRow."""

    instance_id: str
    service: str
    name: str
    host: str
    captures: int
    crashes: int
    processes: int
    first_seen: str
    last_seen: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process of an instance."""

    pid: int
    start_time: str
    captures: int
    crashes: int
    last_seen: str


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of captures, newest first; `next` is the cursor that continues it."""

    captures: tuple[CaptureRow, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which captures: every field that is not empty must match. `since` and `until` are `model.stamp` texts.

    `instance` is an instance id or name. `q` are words, each of which must occur.
    """

    kind: str = ""
    level: str = ""
    instance: str = ""
    service: str = ""
    request: str = ""
    trace: str = ""
    fingerprint: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
