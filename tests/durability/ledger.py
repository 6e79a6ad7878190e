"""The campaign's own record of what was captured: written by what the children say, never by what the spool says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from diag.model import Capture, Instance, moment_of, new_capture_id, stamp

# Plain words, so that nothing in them can look like a secret.
_WORDS = b"the quick brown fox jumps over the lazy dog while a cart holds two pears and some bread "


@dataclass(frozen=True, slots=True)
class Plan:
    """A capture that a child is to make: the same plan always makes the same files."""

    capture_id: str
    kind: str
    files: tuple[tuple[str, int], ...]  # name, size
    fingerprint: str | None = None

    def content(self, name: str) -> bytes:
        """The file's bytes."""
        return content(f"{self.capture_id}/{name}", dict(self.files)[name])

    def capture(self) -> Capture:
        """What its manifest says, without the artifacts."""
        moment = stamp(moment_of(self.capture_id))
        instance = Instance("shop", "shop", "shop-1", "box", 4711, moment, "python 3.11.7")
        return Capture(
            self.capture_id, self.kind, "exception", moment, instance, "ValueError: no price", "FULL",
            fingerprint=self.fingerprint,
        )  # fmt: skip


def plan(*sizes: int, kind: str = "crash", fingerprint: str | None = None) -> Plan:
    """A new capture with one file for each size."""
    files = tuple((f"report{number or ''}.txt", size) for number, size in enumerate(sizes))
    return Plan(new_capture_id(), kind, files, fingerprint)


@lru_cache(maxsize=64)
def content(name: str, size: int) -> bytes:
    """Bytes that are told from all others by each of their lines."""
    line = name.encode() + b" " + _WORDS + b"\n"
    return (line * (size // len(line) + 1))[:size]


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class Ledger:
    """Every capture that a child began, and how far it came. Filled from the lines that children say."""

    plans: dict[str, Plan] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)  # `begin` has returned
    acknowledged: set[str] = field(default_factory=set)  # `commit` has returned
    refused: dict[str, str] = field(default_factory=dict)  # one of them has raised SpoolUnwritable

    def hear(self, said: dict[str, Any]) -> None:
        """Take in one line of a child's."""
        if "begins" in said:
            one = said["begins"]
            files = tuple((name, size) for name, size in one["files"])
            self.plans[one["id"]] = Plan(one["id"], one["kind"], files, one["fingerprint"])
        elif "begun" in said:
            self.begun.add(said["begun"])
        elif "committed" in said:
            self.acknowledged.add(said["committed"])
        elif "refused" in said:
            self.refused[said["refused"]] = said["why"]
