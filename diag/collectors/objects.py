"""The objects of a live Python by type: how many, how large, and which become more. The probe counts them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from diag.collectors import questions
from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import Collected, Subject, Watch
from diag.collectors.mappings import Mappings
from diag.collectors.procfs import ProcFolder, kib, parse_status
from diag.errors import DiagError, ToolFailed, WrongRuntime
from diag.model import Missing

MOST_OBJECTS = 10_000_000
LIMIT_S = 2.0
PATIENCE_S = 6.0
NOTE = "Counted is what containers hold that the collector knows; what C code keeps for itself is in the mappings."
_ROWS = 2000
_BYTES_A_SECOND = 25_000_000  # of objects, on a machine that is busy


class Objects:
    """A census, or two and what grew between them."""

    engine = "objects"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is a Python with the probe in it. What it costs is told from the size of the process."""
        check_python(subject)
        questions.check(subject)
        with ProcFolder(subject.pid) as folder:
            size = kib(parse_status(folder.text("status")), "RssAnon") or 0
        longest_s = min(LIMIT_S, max(0.1, size / _BYTES_A_SECOND))
        times = "twice about" if self._asked.apart_s else "for about"
        return (
            f"counts objects by type; its main thread stands still meanwhile, {times} {longest_s:.1f} s, "
            f"and {LIMIT_S:.0f} s at most"
        )

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The objects by type. Raises what the question raises."""
        missing: list[Missing] = []
        with Mappings(subject, twice=bool(self._asked.apart_s)) as mappings:
            began = time.monotonic()
            counts = [_count(subject)]
            if self._asked.apart_s:
                watch.wait(subject, self._asked.apart_s, "until the second count")
                try:
                    counts.append(_count(subject))
                except DiagError as error:
                    missing.append(Missing("memory.growth", f"the second count could not be had: {error}"))
            seconds = time.monotonic() - began if len(counts) > 1 else 0.0
        with questions.making_sense("objects"):
            found = types([one.value for one in counts])
        facts = {"mappings": mappings.told(), "duration_s": seconds, "types": found, "note": NOTE}
        if found["cut"]:
            missing.append(Missing("memory.types", found["cut"]))
        pause_s = sum(one.held_s for one in counts)
        return Collected((), self.engine, facts, pause_s, (*missing, *mappings.missing))


def check_python(subject: Subject) -> None:
    """Raises WrongRuntime where it is no Python."""
    if subject.language != "python":
        raise WrongRuntime(f"This engine is for Python, and pid {subject.pid} is {subject.runtime or 'unknown'}.")


def types(counts: list[Any], limit_s: float = LIMIT_S) -> dict[str, Any]:
    """The last count as a table, most bytes first; with `growth` where both of two are whole."""
    last, cut = counts[-1], next(filter(None, (_cut(one, limit_s) for one in counts)), "")
    table: dict[str, Any] = {name: int(last[name]) for name in ("objects", "bytes", "frozen")}
    largest = [{"name": _name(*row[:2]), "bytes": int(row[2]), "length": int(row[3])} for row in last["largest"]]
    after = _by_name(last)
    rows: list[dict[str, Any]] = [{"name": name, "count": one[0], "bytes": one[1]} for name, one in after.items()]
    if len(counts) > 1 and not cut:
        before = _by_name(counts[0])
        rows += [{"name": name, "count": 0, "bytes": 0} for name in before if name not in after]
        for row in rows:
            count, size = before.get(row["name"], (0, 0))
            row["growth"] = {"count": row["count"] - count, "bytes": row["bytes"] - size}
        table["growth"] = {name: int(last[name]) - int(counts[0][name]) for name in ("objects", "bytes")}
    return {"rows": rows, **table, "largest": largest, "cut": cut}


def _by_name(count: Any) -> dict[str, tuple[int, int]]:
    """(count, bytes) of each type, most bytes first; several may have one name."""
    sums: dict[str, tuple[int, int]] = {}
    for module, name, number, size in count["rows"]:
        known = sums.get(_name(module, name), (0, 0))
        sums[_name(module, name)] = known[0] + int(number), known[1] + int(size)
    return dict(sorted(sums.items(), key=lambda row: -row[1][1]))


def _count(subject: Subject) -> questions.Answer:
    limits = {"objects": MOST_OBJECTS, "seconds": LIMIT_S, "rows": _ROWS}
    answer = questions.ask(subject, "objects", limits, patience_s=PATIENCE_S)
    with questions.making_sense("objects"):
        too_many, left = answer.value["cut"] == "objects", int(answer.value["left"])
    if too_many:
        raise ToolFailed(
            f"Process {subject.pid} has about {left:,} objects; {MOST_OBJECTS:,} are counted at most.",
            "--engine smaps shows where its memory is, and memray or tracemalloc what is added to it.",
        )
    return answer


def _cut(count: Any, limit_s: float) -> str:
    if count["cut"] != "seconds":
        return ""
    return f"not all was counted: {int(count['left']):,} containers were left when {limit_s:g} s were over"


def _name(module: str, name: str) -> str:
    return str(name) if module in ("", "builtins") else f"{module}.{name}"
