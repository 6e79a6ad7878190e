"""Allocations of a live Python by stack, from CPython's own tracing, which the probe starts and ends."""

from __future__ import annotations

import json
import posixpath
import time
from pathlib import Path
from typing import Any

from diag.collectors import questions
from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.keeping import Kept
from diag.collectors.mappings import Mappings
from diag.collectors.objects import check_python
from diag.collectors.proc import read_process
from diag.errors import UsageError
from diag.model import Missing

DEPTH = 8  # the first frame costs most, and each one more a little
PATIENCE_S = 15.0
STOP_PATIENCE_S = 120.0
ADD_UP_S = 3.0
MOST_BYTES = 256 * 1024 * 1024  # of traces, about three million allocations
_LIMITS = {"seconds": ADD_UP_S, "memory": MOST_BYTES, "rows": 5000}
GONE = Missing("memory.allocations", "the process, or the recording in it, ended before it was asked for")
SLOWDOWN = "what allocates much ran at a tenth to a thirtieth of its speed meanwhile"


class Tracemalloc:
    """Starts it, waits, and asks for what was allocated since and not given back."""

    engine = "tracemalloc"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is a Python with the probe in it."""
        check_recorded(self._asked, subject)
        return (
            f"CPython traces every allocation for {self._asked.recorded_s} s; what allocates much runs at a tenth "
            "to a thirtieth of its speed meanwhile"
        )

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """What is in use by stack. Raises what the questions raise."""
        asked, process = self._asked, read_process(subject.pid)[0]
        with Mappings(subject, twice=True) as mappings, Kept(subject, "tracemalloc") as kept:
            started = kept.ask("start", {"depth": DEPTH, **_LIMITS}, patience_s=PATIENCE_S)
            began_at = time.time()
            seconds = watch.wait(subject, asked.recorded_s, "CPython traces its allocations")
            found = kept.end("stop", _LIMITS, patience_s=STOP_PATIENCE_S)
        made = list[Made]()
        with questions.making_sense("tracemalloc"):
            own = bool(started["own"])
            missing = _missing(found["cut"]) if found else (GONE,)
            table = json.dumps(_table(found, own, process.working_directory or "/")) if found else ""
        if found:
            path = folder / ".tracemalloc.json"
            path.write_text(table)
            made.append(Made(path, "profile", "tracemalloc", "application/json", began_at))
        facts = {
            "mappings": mappings.told(),
            "duration_s": seconds,
            "root": process.root,
            "slowdown": "the program traces itself, which is as it was" if own else SLOWDOWN,
        }
        version = ".".join(map(str, subject.version))
        return Collected(tuple(made), f"tracemalloc {version}", facts, kept.held_s, (*missing, *mappings.missing))


def check_recorded(asked: MemoryAsked, subject: Subject) -> None:
    """It is a Python with a probe that can record. Raises WrongEngine, NotAnswered, …; UsageError where it would be
    over at once.
    """
    check_python(subject)
    questions.check(subject)
    if not asked.recorded_s:
        raise UsageError("Allocations are recorded for at least a second.", "Say -d 1 or more, or --engine objects.")


def _table(found: Any, twice: bool, folder: str) -> dict[str, Any]:
    """As diag.profiles.tracemalloc reads it; functions are not known here. Before 3.9 files may be relative."""

    def whole(file: str) -> str:
        return file if file.startswith("<") else posixpath.join(folder, file)

    stacks = [[["", whole(file), line] for file, line in row[4]] for row in found["rows"]]
    rows = [[number, *row[:4]] for number, row in enumerate(found["rows"])]
    return {"twice": twice, "stacks": [*stacks, []], "rows": [*rows, [len(stacks), *found["rest"]]]}


def _missing(cut: str) -> tuple[Missing, ...]:
    words = {
        "memory": f"there were more traces than {MOST_BYTES >> 20} MiB of them: they were not listed",
        "seconds": f"not all traces were added up within {ADD_UP_S:.0f} s",
    }
    return (Missing("memory.allocations", words[cut]),) if cut else ()
