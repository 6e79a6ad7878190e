"""From what was seen of a process's memory to a capture: one summary, and a profile where there are stacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from diag.capture import memory_words, python_names
from diag.capture.profile import redacted
from diag.capture.take import During, File, Refined
from diag.collectors.collector import Collected, Made
from diag.errors import BadProfile
from diag.model import Cost, Missing
from diag.probe import FOLDER
from diag.profiles import formats, heapsnapshot, memray
from diag.profiles.growth import grown
from diag.profiles.heapsnapshot import Snapshot
from diag.profiles.model import Profile, Recording
from diag.profiles.summary import summary
from diag.profiles.transform import aggregate, merge, select
from diag.redact import Redactor

NAME = "memory.json"
_SNAPSHOT = ("heap.heapsnapshot", "heapsnapshot", "v8-heapsnapshot", "application/json")
# What a page tells of allocations, the most telling first; other columns are in the profile alone.
TOLD = ("inuse_space", "growth_space", "peak_space", "alloc_space")
MOST_TYPES = 1000


def refining(why: str) -> Callable[[Collected, During], Refined]:
    """The refinement of what an engine brings; `why` says why it was this one."""
    return lambda collected, during: refine(collected, during, why)


def refine(collected: Collected, during: During, why: str) -> Refined:
    """The summary, the profile as pprof, and what both say in three sentences. Raises BadProfile."""
    redactor = Redactor(environment=during.environment)
    told, profile = collected.facts, _profile(collected, redactor)
    types, files, missing = told.get("types"), list[File](), tuple[Missing, ...]()
    try:
        for made in (one for one in collected.files if one.format == "v8-heapsnapshot"):
            snapshot = heapsnapshot.read(made.path.read_bytes())
            types = _types_of(snapshot)
            files.append(File(*_SNAPSHOT, heapsnapshot.blanked(snapshot, redactor.text)))
    except BadProfile as error:
        missing = (Missing("memory.snapshot", str(error)),)
    if profile is not None:
        content = formats.write(profile, "pprof")
        files.append(File("profile.pb.gz", "profile", "pprof", formats.CONTENT_TYPES["pprof"], content))
    for made in collected.files:
        made.path.unlink()
    found: dict[str, Any] = {
        "engine": collected.engine,
        "why": redactor.text(why),
        "duration_s": told.get("duration_s") or told["mappings"]["apart_s"],
        "mappings": _named(told["mappings"], "groups", redactor),
        "types": types and _types(types, redactor),
        "heap": told.get("heap"),
        "allocations": _allocations(profile),
        "note": told.get("note", ""),
        "cost": {"pause_s": collected.pause_s, "slowdown": told.get("slowdown", "")},
    }
    found["facts"] = memory_words.facts(found)
    content = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    whole = (File(NAME, "memory", "diag-memory", "application/json", content), *files)
    return Refined(whole, memory_words.title(found), found["facts"], missing, redactor.counts())


def _profile(collected: Collected, redactor: Redactor) -> Profile | None:
    """What the engine wrote, as one profile: of two looks at one heap the growth, of two views both."""
    found = [
        _parsed(made, str(collected.facts.get("root") or "/")) for made in collected.files if made.kind == "profile"
    ]
    if not found:
        return None
    if all(made.format == "pprof" for made in collected.files) and len(found) > 1:
        whole = grown(*found)
    else:
        whole = aggregate(merge(found)) if len(found) > 1 else found[0]
    whole = select(whole, without=lambda frame: frame.file.startswith(f"{FOLDER}/"))  # what the probe itself took
    engine, _, version = collected.engine.partition(" ")
    recording = Recording(engine=engine, version=version, mode="memory", cost=Cost(pause_s=collected.pause_s))
    seconds = float(collected.facts.get("duration_s") or 0.0)
    started = min(round(made.started * 1e9) for made in collected.files if made.kind == "profile")
    return redacted(
        replace(whole, recording=recording, duration_ns=round(seconds * 1e9), start_ns=started, default_type=TOLD[0]),
        redactor,
    )


def _parsed(made: Made, root: str) -> Profile:
    content = made.path.read_bytes()
    if made.format == "tracemalloc":
        return python_names.named(formats.read(content, made.format), root)
    if made.format.startswith("memray "):
        return memray.read(content, made.format.partition(" ")[2])
    return formats.read(content, made.format)


def _allocations(profile: Profile | None) -> list[dict[str, Any]]:
    """What a page shows of each column of bytes."""
    if profile is None:
        return []
    names = [kind.name for kind in profile.sample_types]
    return [summary(profile, name) for name in TOLD if name in names]


def _types_of(snapshot: Snapshot) -> dict[str, Any]:
    found = heapsnapshot.types(snapshot)
    rows = [{"name": name, "count": count, "bytes": size} for name, count, size in found]
    return {
        "rows": rows,
        "objects": sum(row[1] for row in found),
        "bytes": sum(row[2] for row in found),
        "largest": [],
        "cut": "",
    }


def _types(types: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    kept = _named({**types, "rows": types["rows"][:MOST_TYPES]}, "rows", redactor)
    return _named(kept, "largest", redactor)


def _named(table: Mapping[str, Any], rows: str, redactor: Redactor) -> dict[str, Any]:
    """The table, its names redacted: files and types are the program's own."""
    return {**table, rows: [{**row, "name": redactor.text(row["name"])} for row in table[rows]]}
