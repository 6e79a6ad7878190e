"""Pins: captures that no retention rule removes. They stand in the store, so they outlive every index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diag.errors import CorruptCapture, NoSuchCapture, StoreConflict
from diag.model import now, parse_stamp, stamp
from diag.redact import Redactor
from diag.upload import keys, notes
from diag.upload.store import Store

SCHEMA = "diag.pin/1"
TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Pin:
    """Who pinned a capture, when (as in a manifest), and why. The texts are redacted."""

    capture_id: str
    by: str
    time: str
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """The object in the store, and what `diag pin --json` prints."""
        return {
            "schema": SCHEMA,
            "capture_id": self.capture_id,
            "by": self.by,
            "time": self.time,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Any) -> Pin:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on anything malformed."""
        texts = [str(data[name])[:TEXT_LIMIT] for name in ("capture_id", "by", "time", "reason")]
        return cls(texts[0], texts[1], stamp(parse_stamp(texts[2])), texts[3])


def pin(store: Store, tenant: str, capture_id: str, by: str, reason: str = "", *, stored: bool = True) -> Pin:
    """Pin a capture; returns the pin in force, which is the first one where it is pinned already.

    `stored` is False for a capture that is still to come. Raises NoSuchCapture where a removal was faster.
    """
    scrub = Redactor().text
    made = Pin(capture_id, scrub(by)[:TEXT_LIMIT], stamp(now()), scrub(reason)[:TEXT_LIMIT])
    try:
        notes.write(store, tenant, keys.PINS, capture_id, json.dumps(made.to_json()).encode())
    except StoreConflict:
        return read(store, tenant, capture_id) or made
    if stored and store.stat(keys.key(tenant, capture_id, keys.MANIFEST)) is None:
        unpin(store, tenant, capture_id)
        raise NoSuchCapture(f"The capture {capture_id} has just been removed.")
    return made


def unpin(store: Store, tenant: str, capture_id: str) -> bool:
    """Take the pin away; False where there was none."""
    key = keys.note(tenant, keys.PINS, capture_id)
    there = store.stat(key) is not None
    store.delete(key)
    return there


def read(store: Store, tenant: str, capture_id: str) -> Pin | None:
    """The capture's pin, or None. One that cannot be read is a pin all the same."""
    content = notes.read(store, tenant, keys.PINS, capture_id)
    if content is None:
        return None
    try:
        return parse(capture_id, content)
    except CorruptCapture:
        return Pin(capture_id, "somebody", stamp(keys.moment_of(capture_id)), "(this pin cannot be read)")


def parse(capture_id: str, content: bytes) -> Pin:
    """The pin in these bytes. Raises CorruptCapture."""
    try:
        found = Pin.from_json(json.loads(content))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptCapture(f"The pin of {capture_id} cannot be read: {type(error).__name__} {error}.") from error
    if found.capture_id != capture_id:
        raise CorruptCapture(f"The pin of {capture_id} names another capture.")
    return found


def listed(store: Store, tenant: str) -> Iterator[str]:
    """The ids of all pinned captures, oldest first."""
    return notes.listed(store, tenant, keys.PINS)
