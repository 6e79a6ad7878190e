"""The records every layer shares: who was observed, what happened, what was kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal

SCHEMA = "diag.capture/1"
MANIFEST = "manifest.json"
MOST_REPEATS = 1_000_000_000

# The leading 0 holds until the year 2527, and keeps `moment_of` within what a datetime can say.
ID_PATTERN = r"0[0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_ID = re.compile(ID_PATTERN)
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+=-]{0,199}")

Level = Literal["FULL", "NATIVE", "OUTSIDE", "EVENT"]
TriggerKind = Literal["exception", "signal", "exit", "oom", "hang", "api", "rule"]


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """ISO 8601 with milliseconds and offset, as in every manifest and report."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def parse_stamp(text: str) -> datetime:
    """The aware time that `stamp` wrote. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def new_capture_id(moment: datetime | None = None) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time of creation."""
    millis = int((moment.timestamp() if moment else time.time()) * 1000)
    value = (millis << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def valid_id(text: str) -> bool:
    """Whether this is a capture id: a UUIDv7 in lower case."""
    return bool(_ID.fullmatch(text))


def valid_name(text: str) -> bool:
    """Whether this can be an artifact's file name; `..`, `/` and hidden names cannot."""
    return bool(_NAME.fullmatch(text)) and ".." not in text


def valid_tenant(text: str) -> bool:
    """Whether this can be a tenant, the first part of a key that says something."""
    return bool(_TENANT.fullmatch(text))


def moment_of(capture_id: str) -> datetime:
    """The time of creation that a UUIDv7 carries, aware, UTC."""
    return datetime.fromtimestamp(int(capture_id.replace("-", "")[:12], 16) / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Instance:
    """Who was observed. A pid alone is re-used, so identity includes the start time.

    All processes of one instance share `instance_id`; `parent` is the process that forked this one
    (`{"pid": int, "start_time": str}`), or None for the instance's first process.
    """

    service: str
    name: str
    instance_id: str
    host: str
    pid: int
    start_time: str
    runtime: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    parent: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest's `instance` object."""
        return {
            "service": self.service,
            "name": self.name,
            "instance_id": self.instance_id,
            "host": self.host,
            "pid": self.pid,
            "start_time": self.start_time,
            "runtime": self.runtime,
            "labels": dict(self.labels),
            "parent": dict(self.parent) if self.parent else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Instance:
        """The inverse of `to_json`. Raises KeyError where a required key is absent, TypeError on a wrong type."""
        found = cls(
            service=data["service"],
            name=data["name"],
            instance_id=data["instance_id"],
            host=data["host"],
            pid=data["pid"],
            start_time=data["start_time"],
            runtime=data.get("runtime", ""),
            labels=data.get("labels") or {},
            parent=data.get("parent"),
        )
        _expect(
            str, *(getattr(found, name) for name in ("service", "name", "instance_id", "host", "start_time", "runtime"))
        )
        _expect(int, found.pid)
        _expect(Mapping, found.labels, *filter(None, [found.parent]))
        _expect(str, *found.labels.values())
        return found


@dataclass(frozen=True, slots=True)
class Link:
    """The request, trace and span a capture belongs to; any of the three may be unknown."""

    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """The manifest's link object."""
        return {"request_id": self.request_id, "trace_id": self.trace_id, "span_id": self.span_id}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Link:
        """The inverse of `to_json`. Raises TypeError on a wrong type."""
        found = cls(data.get("request_id"), data.get("trace_id"), data.get("span_id"))
        _expect(str | None, found.request_id, found.trace_id, found.span_id)
        return found


@dataclass(frozen=True, slots=True)
class Missing:
    """A section that the record does not have, and why."""

    section: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """An entry of `incomplete`."""
        return {"section": self.section, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Cost:
    """What the capture cost: seconds the target stood still, our CPU seconds, and elapsed seconds."""

    pause_s: float = 0.0
    cpu_s: float = 0.0
    duration_s: float = 0.0

    def to_json(self) -> dict[str, float]:
        """The manifest's `cost` object, rounded to microseconds."""
        return {name: round(getattr(self, name), 6) for name in ("pause_s", "cpu_s", "duration_s")}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One immutable file of a capture. `name` is a plain file name: data, never a path."""

    name: str
    kind: str
    format: str
    content_type: str
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """An entry of the manifest's `artifacts`."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Artifact:
        """The inverse of `to_json`. Raises KeyError where a key is absent, TypeError on a wrong type."""
        found = cls(**{name: data[name] for name in cls.__slots__})
        _expect(int, found.size_bytes)
        _expect(str, found.name, found.kind, found.format, found.content_type, found.sha256)
        return found


@dataclass(frozen=True, slots=True)
class Capture:
    """One event and its artifacts: what `manifest.json` says. `title` is the one line a list shows."""

    capture_id: str
    kind: str
    trigger: TriggerKind
    time: str
    instance: Instance
    title: str = ""
    level: Level | None = None
    links: tuple[Link, ...] = ()
    fingerprint: str | None = None
    verdict: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    cost: Cost = Cost()
    incomplete: tuple[Missing, ...] = ()
    redactions: tuple[Mapping[str, Any], ...] = ()
    repeats: int = 0  # how many with its fingerprint came before it in a crash loop and were counted, not kept
    redacted: bool | None = None  # whether the redactor went through all of it; None where nobody knows

    def to_json(self) -> dict[str, Any]:
        """The manifest, and a row of `diag ls --json`."""
        return {
            "schema": SCHEMA,
            "capture_id": self.capture_id,
            "kind": self.kind,
            "level": self.level,
            "trigger": self.trigger,
            "time": self.time,
            "title": self.title,
            "instance": self.instance.to_json(),
            "links": [link.to_json() for link in self.links],
            "fingerprint": self.fingerprint,
            "verdict": dict(self.verdict) if self.verdict else None,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "cost": self.cost.to_json(),
            "incomplete": [missing.to_json() for missing in self.incomplete],
            "redactions": [dict(entry) for entry in self.redactions],
            "repeats": self.repeats,
            "redacted": self.redacted,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Capture:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on anything malformed."""
        cost = data.get("cost") or {}
        found = cls(
            capture_id=data["capture_id"],
            kind=data["kind"],
            trigger=data["trigger"],
            time=stamp(parse_stamp(data["time"])),
            instance=Instance.from_json(data["instance"]),
            title=data.get("title") or "",
            level=data.get("level"),
            links=tuple(Link.from_json(link) for link in data.get("links") or ()),
            fingerprint=data.get("fingerprint"),
            verdict=data.get("verdict"),
            artifacts=tuple(Artifact.from_json(artifact) for artifact in data.get("artifacts") or ()),
            cost=Cost(*(float(cost.get(name, 0.0)) for name in ("pause_s", "cpu_s", "duration_s"))),
            incomplete=tuple(Missing(**entry) for entry in data.get("incomplete") or ()),
            redactions=tuple(data.get("redactions") or ()),
            repeats=data.get("repeats") or 0,
            redacted=data.get("redacted"),
        )
        _expect(str, found.capture_id, found.kind, found.trigger, found.title)
        _expect(str | None, found.level, found.fingerprint)
        _expect(int, found.repeats)
        if not 0 <= found.repeats <= MOST_REPEATS:
            raise ValueError(f"{found.repeats} is no number of repeats")
        _expect(str, *(text for one in found.incomplete for text in (one.section, one.reason)))
        _expect(Mapping, *filter(None, [found.verdict]), *found.redactions)
        return found


def _expect(kind: type | UnionType, *values: object) -> None:
    """What is read was written by anybody. Raises TypeError."""
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r:.100} stands where {kind} belongs")
