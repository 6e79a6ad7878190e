"""The last look at a process's memory before its control group had none left: its JSON, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from diag.evidence import Evidence, is_own_type
from diag.model import stamp
from diag.report.reading import Json, duration, mib
from diag.report.values import Scrub

RECENT_S = 300.0
_NAMED = 3
_SMALL = 20


def last_look_json(evidence: Evidence, scrub: Scrub) -> dict[str, Any] | None:
    """The report's `lastLook`; None where memory was not short."""
    look = evidence.last_look
    if look is None:
        return None
    return {
        "time": stamp(look.time),
        "before_s": round((evidence.time - look.time).total_seconds(), 3),
        "used": look.used,
        "limit": look.limit,
        "samples": [{"time": stamp(moment), "used": used} for moment, used in look.samples],
        "mappings": [_named(row, scrub) for row in look.mappings],
        "types": [_named(row, scrub) for row in look.types],
    }


def _named(row: Mapping[str, Any], scrub: Scrub) -> dict[str, Any]:
    return {**row, "name": scrub.text(row["name"], 1024)}


def growth(look: Json) -> list[str]:
    """How memory in use grew in the last minutes, in a sentence; none where it was measured once."""
    samples = [(datetime.fromisoformat(one["time"]), one["used"]) for one in look["samples"]]
    if len(samples) < 2:
        return []
    (until, most), before = samples[-1], samples[:-1]
    recent = [one for one in before if (until - one[0]).total_seconds() <= RECENT_S]
    since, least = min(recent or before[-1:], key=lambda one: one[1])
    took_s = (until - since).total_seconds()
    rate = f", {mib((most - least) / took_s)} a second" if took_s >= 1 else ""
    return [f"Memory in use grew from {mib(least)} to {mib(most)} in the last {duration(took_s)} measured{rate}."]


def suspects(look: Json) -> list[str]:
    """What held the most when it was looked at, in sentences; none where there was no time for that."""
    if not look["mappings"]:
        return []
    when = f"{duration(look['before_s'])} before the end, at {look['used'] / look['limit']:.0%} of the limit"
    found = [f"The last look at it was {when}."]
    types = [f"{mib(row['bytes'])} in {row['count']:,} {row['name']}" for row in _large(look["types"], "bytes")]
    own = [f"{row['count']:,} {row['name']}" for row in look["types"] if is_own_type(row["name"])][:_NAMED]
    if types:
        found.append(f"Most of what was counted then: {', '.join(types)}.")
    if own:
        found.append(f"Of types that are not Python's own: {', '.join(own)}.")
    rows = [f"{mib(row['rss'])} {place_of(row)}" for row in _large(look["mappings"], "rss")]
    return [*found, f"The largest mappings: {', '.join(rows)}."]


def _large(rows: list[Json], key: str) -> list[Json]:
    """The first few, without those that are small beside the first."""
    return [row for row in rows[:_NAMED] if row[key] * _SMALL >= rows[0][key]]


def place_of(row: Json) -> str:
    """What a mapping is, in a few words."""
    kind, name = str(row["kind"]), str(row["name"])
    return kind if name in ("", kind, f"[{kind}]") else f"{kind} {name.rpartition('/')[2] or name}"
