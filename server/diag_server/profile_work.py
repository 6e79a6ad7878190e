"""Makes of stored profiles what pages show: a program of its own, because a profile from outside may be a bomb.

    python -m diag_server.profile_work JOB OUT PROFILE [PROFILE]

writes the result to OUT, gzipped; exit status 1 and two lines on stderr, what is wrong and what to do, where it cannot.
"""

from __future__ import annotations

import gzip
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diag.errors import DiagError
from diag.profiles import buckets, diff, formats, icicle, places
from diag.profiles.icicle import Cell
from diag.profiles.limits import unpacked
from diag.profiles.model import Profile
from diag.profiles.summary import summary
from diag.profiles.tables import function_of
from diag.profiles.transform import shown_first

MOST_UNPACKED_BYTES = 128 * 1024 * 1024
MEMORY_BYTES = 2 * 1024 * 1024 * 1024
CPU_S = 60
OUT_BYTES = 256 * 1024 * 1024
DIFF_ROWS = 60
TOO_LARGE = "This profile is too large to be drawn here."
FETCH_IT = "Fetch the file, and open it with `go tool pprof` or speedscope."


def drawn(profile: Profile) -> dict[str, Any]:
    """The pictures of a profile."""
    column = profile.column()
    when = buckets.timeline(profile, column)
    return {
        "cells": [_cell(one) for one in icicle.cells([(profile, column)])],
        "timeline": asdict(when) if when else None,
    }


def compared(base: Profile, new: Profile) -> dict[str, Any]:
    """What is different between two profiles, and both as one picture. Raises UsageError."""
    before, after = diff.columns_of_both(base, new)
    in_app = {function_of(one): places.in_app(one) for profile in (base, new) for one in profile.frames}
    changes = diff.functions(base, new)
    largest = sorted(changes, key=lambda row: -max(abs(row.own), abs(row.total)))[:DIFF_ROWS]
    return {
        "sample_type": new.sample_types[after]._asdict(),
        "totals": [base.total(before), new.total(after)],
        "durations_s": [base.duration_ns / 1e9, new.duration_ns / 1e9],
        "changed": len(changes),
        "functions": [{**asdict(row), "key": row.key._asdict(), "in_app": in_app[row.key]} for row in largest],
        "cells": [_cell(one) for one in icicle.cells([(base, before), (new, after)])],
    }


# What is made of one profile, and of two.
JOBS: dict[str, Callable[..., bytes]] = {
    "pictures": lambda profile: json.dumps(drawn(profile)).encode(),
    "summary": lambda profile: json.dumps(summary(profile)).encode(),
    "diff": lambda base, new: json.dumps(compared(base, new)).encode(),
    "speedscope": lambda profile: formats.write(profile, "speedscope"),
    # Without the other types, each of which takes a browser as long as the first.
    "flamegraph": lambda profile: formats.write(shown_first(profile), "speedscope"),
    "collapsed": lambda profile: formats.write(profile, "collapsed"),
    "html": lambda profile: formats.write(profile, "html"),
}


def main(job: str, out: str, *sources: str) -> int:
    """Do the job; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUT_BYTES, OUT_BYTES))
    try:
        plain = (unpacked(Path(source).read_bytes(), MOST_UNPACKED_BYTES) for source in sources)
        result = JOBS[job](*[formats.read(content, "pprof") for content in plain])
        Path(out).write_bytes(gzip.compress(result, compresslevel=1, mtime=0))
    except DiagError as error:
        print(error, error.help_text, sep="\n", file=sys.stderr)
    except (MemoryError, RecursionError):
        print(TOO_LARGE, FETCH_IT, sep="\n", file=sys.stderr)
    else:
        return 0
    return 1


def _cell(cell: Cell) -> list[Any]:
    name, file, _ = cell.function
    return [cell.depth, round(cell.start, 5), round(cell.width, 5), name, file, cell.in_app, cell.shares]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
