"""Captures for tests of the storage side: small, valid, and different where it matters."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from moments import next_moment

from diag.model import Capture, Instance, Link, new_capture_id, stamp
from diag.spool import Spool

MIB = 1024 * 1024


def make_capture(kind: str = "crash", moment: datetime | None = None, **fields: Any) -> Capture:
    """A capture of an instance called shop; `fields` replace what it says."""
    moment = moment or next_moment()
    instance = Instance(
        service="shop",
        name=fields.pop("name", "shop"),
        instance_id="shop-1",
        host="box",
        pid=fields.pop("pid", 4711),
        start_time=stamp(moment),
        runtime="python 3.11.7",
    )
    known: dict[str, Any] = {
        "capture_id": new_capture_id(moment),
        "kind": kind,
        "trigger": "exception",
        "time": stamp(moment),
        "instance": instance,
        "title": "ValueError: no price",
        "level": "FULL",
        "links": (Link("req-1", "4bf92f3577b34da6a3ce929d0e0e4736", None),),
    }
    return Capture(**{**known, **fields})


def put_capture(spool: Spool, capture: Capture | None = None, content: bytes = b'{"header": {}}\n') -> Capture:
    """Commit a capture with one report of this content; returns what its manifest says."""
    capture = capture or make_capture()
    with spool.begin(capture) as draft:
        draft.add("report.json", "report", "json", "application/json", content)
        return spool.load(draft.commit(capture))


def folder_of(spool: Spool, capture: Capture) -> Path:
    """Where a waiting capture stands."""
    return next(spool.starting_with(capture.capture_id))
