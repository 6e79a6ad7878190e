"""Captures of memory in a store, for tests of what shows them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import deaths
from deaths import APP, Made
from moments import next_moment

from diag.model import Artifact, Capture, Cost, new_capture_id, stamp
from diag.profiles import formats
from diag.profiles.builder import Builder
from diag.profiles.model import Frame, Profile, Recording, SampleType
from diag.profiles.summary import summary

MIB = 1 << 20
FORMATS = {"memory.json": ("memory", "diag-memory"), "profile.pb.gz": ("profile", "pprof")}


def heap() -> Profile:
    """Two functions of a shop that keep what they make."""
    builder = Builder([SampleType("inuse_objects", "count"), SampleType("inuse_space", "bytes")])
    for name, size in (("load", 9 * MIB), ("render", 3 * MIB)):
        frames = tuple(builder.frame(Frame(one, APP, 7)) for one in (name, "serve"))
        builder.add(builder.stack(frames), (100, size))
    return builder.build(recording=Recording("tracemalloc", "3.13.0", "memory"), default_type="inuse_space")


def group(kind: str, name: str, rss: int, grown: int) -> dict[str, Any]:
    """A row of the mappings."""
    sizes = {"size": 2 * rss, "rss": rss, "pss": rss // 2, "private_dirty": rss // 4, "swap": 0}
    return {"kind": kind, "name": name, "mappings": 3, **sizes, "growth": dict.fromkeys(sizes, grown)}


def told(profile: Profile | None = None) -> dict[str, Any]:
    """A summary as `diag memory` makes it."""
    groups = [group("anonymous", "anonymous", 40 * MIB, 6 * MIB), group("file", "/usr/lib/libshop.so", 5 * MIB, 0)]
    process = {**{name: sum(row[name] for row in groups) for name in ("rss", "pss", "private_dirty", "swap")}}
    rows = [
        {"name": "shop.Order", "count": 12000, "bytes": 9 * MIB, "growth": {"count": 4000, "bytes": 3 * MIB}},
        {"name": "dict", "count": 900, "bytes": 2 * MIB, "growth": {"count": -5, "bytes": -1024}},
    ]
    largest = [{"name": "dict", "bytes": MIB, "length": 12000}]
    return {
        "engine": "objects",
        "why": "objects: counts objects by type",
        "duration_s": 30.0,
        "mappings": {
            "groups": groups,
            "process": {**process, "peak_rss": 50 * MIB, "growth": {"rss": 6 * MIB}},
            "apart_s": 30.0,
            "read_s": 0.004,
        },
        "types": {"rows": rows, "objects": 12900, "bytes": 11 * MIB, "largest": largest, "cut": ""},
        "heap": None,
        "allocations": [summary(profile)] if profile else [],
        "note": "",
        "cost": {"pause_s": 0.25, "slowdown": ""},
        "facts": [
            "82 % of 11.0 MiB in 12,000 shop.Order",
            "45.0 MiB resident",
            "Its main thread stood still for 250 ms",
        ],
    }


def made(found: Any, profile: Profile | None = None) -> Made:
    """A capture with this summary, and with a profile where there is one."""
    files = {"memory.json": found if isinstance(found, bytes) else json.dumps(found).encode()}
    if profile:
        files["profile.pb.gz"] = formats.write(profile, "pprof")
    artifacts = tuple(
        Artifact(name, *FORMATS[name], "application/json", len(data), hashlib.sha256(data).hexdigest())
        for name, data in files.items()
    )
    moment = next_moment()
    capture = Capture(
        capture_id=new_capture_id(moment),
        kind="memory",
        trigger="api",
        time=stamp(moment),
        instance=deaths.instance(),
        title="memory: 9.0 MiB of 11.0 MiB in shop.Order",
        artifacts=artifacts,
        cost=Cost(0.25, 0.4, 30.2),
    )
    return Made(capture, files)
