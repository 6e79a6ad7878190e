"""What the index takes in and gives out: plain frozen records, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diag.model import Capture, Link


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
    stack: tuple[Mapping[str, Any], ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def headline(self) -> str:
        """The line that names the capture: its title, or its verdict, or what triggered it."""
        return self.title or self.sentence or f"{self.kind} ({self.trigger})"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The captures of one fingerprint. `trend` counts them in equal spans of time, oldest first."""

    fingerprint: str
    count: int
    first_seen: str
    last_seen: str
    instances: int
    latest: CaptureRow
    trend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance and how much was captured of it."""

    instance_id: str
    service: str
    name: str
    host: str
    captures: int
    crashes: int
    processes: int
    first_seen: str
    last_seen: str


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
