"""What an agent tells about its spool, for tests of the reading side."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from moments import next_moment

from diag.model import new_capture_id, now, stamp
from diag.upload import keys
from diag.upload.accounts import SCHEMA
from diag.upload.local import LocalStore


def document(agent_id: str, moment: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """An account: 9 received, 4 stored, 2 pending, 1 quarantined, 2 dropped; `host` and others replace what it says."""
    host = changes.pop("host", "web-1")
    usual = {
        "schema": SCHEMA,
        "agent": {"id": agent_id, "host": host, "version": "0.1"},
        "time": stamp(moment or now()),
        "received": 9,
        "stored": 4,
        "pending": 2,
        "quarantined": 1,
        "dropped": {"quota": 1, "disk full": 1},
        "oldest_pending_s": 12.5,
        "dropped_time": None,
        "trouble": "",
    }
    return {**usual, **changes}


def healthy(agent_id: str, moment: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """An account of an agent whose captures are all stored."""
    fine = {"received": 4, "pending": 0, "quarantined": 0, "dropped": {}, "oldest_pending_s": None}
    return document(agent_id, moment, **{**fine, **changes})


def encode(told: dict[str, Any]) -> bytes:
    """The account as its object's bytes."""
    return json.dumps(told).encode()


def put(
    store: Path, told: dict[str, Any], moment: datetime | None = None, tenant: str = "default", *, data: bytes = b""
) -> str:
    """Write the account into a file store as its agent does; returns its key."""
    key = keys.account_key(tenant, told["agent"]["id"], new_capture_id(moment or next_moment()))
    content = data or encode(told)
    source = store.parent / "told"
    source.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    LocalStore(store.as_uri()).put(key, source, size_bytes=len(content), sha256=sha256, content_type="application/json")
    return key
