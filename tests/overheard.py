"""Packets as a capture in a store, for tests of what reads them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import deaths
from moments import next_moment

from diag.model import Artifact, Capture, Link, new_capture_id, stamp

EXCHANGE = {
    "protocol": "http",
    "client": "10.0.0.1:40000",
    "server": "10.0.0.2:80",
    "started": 101.5,
    "latency_s": 0.25,
    "what": "GET /cart<script>alert(1)</script>",
    "status": "500",
    "failed": True,
    "request_id": "req-17",
    "trace_id": deaths.TRACE,
    "details": {"host": "shop"},
}
SUMMARY: dict[str, Any] = {
    "payload": "heads",
    "packets": 42,
    "bytes": 4096,
    "began": 100.0,
    "duration_s": 3.0,
    "exchanges": 1,
    "failed_exchanges": 1,
    "dropped": 5,
    "slowest": [EXCHANGE],
    "failed": [EXCHANGE],
    "named": [EXCHANGE],
    "protocols": [{"name": "http", "count": 1, "failed": 1, "p50_s": 0.25, "max_s": 0.25, "asked": []}],
    "events": [
        {"event": "refused", "by": "10.0.0.3:81", "client": "10.0.0.1:40001", "server": "10.0.0.3:81", "count": 2}
    ],
    "event_counts": {"refused": 2},
    "conversations": [
        {
            "client": "10.0.0.1:40000",
            "server": "10.0.0.2:80",
            "protocol": "http",
            "ended": "closed",
            "duration_s": 1.5,
            "up": {"packets": 3, "bytes": 2048},
            "down": {"packets": 2, "bytes": 512},
        }
    ],
    "conversation_count": 1,
}


def made(summary: bytes) -> deaths.Made:
    """A capture of packets with this summary."""
    files = {"summary.json": summary, "packets.pcap": b"raw"}
    kinds = {"summary.json": ("summary", "diag-packets"), "packets.pcap": ("packets", "pcap")}
    artifacts = tuple(
        Artifact(name, *kinds[name], "x/y", len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    )
    moment = next_moment()
    capture = Capture(new_capture_id(moment), "packets", "api", stamp(moment), deaths.instance(), "42 packets")
    return deaths.Made(replace(capture, artifacts=artifacts, links=(Link("req-17", deaths.TRACE),)), files)
