"""The last look at a process before its control group has no memory left: mappings, types, stacks.

Short, because the process may be killed at any moment, and small, because we may be in the same group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from diag.collectors import mappings, objects, pyspy, questions
from diag.collectors.cgroup import Bound
from diag.collectors.collector import Subject
from diag.collectors.runtime import runtime_of
from diag.errors import DiagError
from diag.evidence import LastLook, is_own_type
from diag.model import Missing, now

STACKS_S, CENSUS_S, PATIENCE_S = 1.0, 0.3, 1.0
STACKS_BYTES = 8 << 20  # what py-spy takes
CENSUS_BYTES = 4 << 20
MOST_OBJECTS = 2_000_000
COUNTED, KEPT, OWN_KEPT = 500, 10, 3

Part = tuple[dict[str, Any], tuple[Missing, ...]]  # fields of the look, and what is missing of them


def look(subject: Subject, bound: Bound, used: int) -> Iterator[LastLook]:
    """The look, again each time that there is more of it; what was not to be had is in `missing`."""
    subject = replace(subject, runtime=runtime_of(subject.pid))
    seen = LastLook(now(), used, bound.limit)
    # Types before stacks: who answers does not allocate meanwhile.
    for section, part in (("mappings", _mappings), ("types", _types), ("threads", _threads)):
        try:
            found, gaps = part(subject, bound)
        except (DiagError, OSError, ValueError, LookupError) as trouble:  # it ends, and what is read breaks off
            found, gaps = {}, (Missing(f"lastLook.{section}", str(trouble)),)
        seen = replace(seen, **found, missing=(*seen.missing, *gaps))
        yield seen


def _mappings(subject: Subject, _bound: Bound) -> Part:
    groups, _ = mappings.look(subject)
    largest = sorted(groups.items(), key=lambda one: -one[1]["rss"])[:KEPT]
    rows = (
        {"kind": kind, "name": name, "rss": sums["rss"], "mappings": sums["mappings"]}
        for (kind, name), sums in largest
        if sums["rss"]
    )
    return {"mappings": tuple(rows)}, ()


def _types(subject: Subject, bound: Bound) -> Part:
    objects.check_python(subject)
    _check_room(bound, CENSUS_BYTES + bound.limit // 64)  # its map of what it has seen
    limits = {"objects": MOST_OBJECTS, "seconds": CENSUS_S, "rows": COUNTED}
    answer = questions.ask(subject, "objects", limits, patience_s=PATIENCE_S)
    with questions.making_sense("objects"):
        found = objects.types([answer.value], CENSUS_S)
    cut = (Missing("lastLook.types", found["cut"]),) if found["cut"] else ()
    rows = found["rows"]
    own = [row for row in rows[KEPT:] if is_own_type(row["name"])][:OWN_KEPT]
    return {"types": (*rows[:KEPT], *own), "pause_s": answer.held_s}, cut


def _threads(subject: Subject, bound: Bound) -> Part:
    objects.check_python(subject)
    _check_room(bound, STACKS_BYTES)
    threads, moved = pyspy.dump_settled(subject.pid, timeout_s=STACKS_S)
    return {"threads": threads}, moved


def _check_room(bound: Bound, size_bytes: int) -> None:
    """Raises DiagError where looking would itself use up what is left."""
    left = bound.limit - (bound.used() or 0)
    if left < size_bytes:
        raise DiagError(f"{left >> 20} MiB were left below the limit, and this takes {size_bytes >> 20} MiB")
