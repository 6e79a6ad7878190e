"""What `memray transform csv` writes, to a profile of memory: one sample for each place, allocator and thread.

memray's own file can be read by memray alone, which `diag` does not import; the CSV is the richest of what it writes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from diag.profiles.builder import Builder
from diag.profiles.limits import reading, text
from diag.profiles.model import THREAD, THREAD_ID, Frame, Label, Profile, Recording, SampleType

HEADER = "allocator,num_allocations,size,tid,thread_name,stack_trace"
_FIELD_LIMIT = 16 * 1024 * 1024
# `function;file;line`, joined by `|`, innermost first. A C++ function's name may have either sign in it.
_FRAME = re.compile(r"(.*?);([^;|]*);(\d+)(?:\||$)", re.DOTALL)
_UNNAMED = re.compile(r"0x[0-9a-f]+")


def read(content: bytes, kind: str = "inuse") -> Profile:
    """The profile. `kind` is what memray was asked for: `inuse` (at the peak, or leaked) or `alloc` (all there were).

    Raises BadProfile.
    """
    types = SampleType(f"{kind}_objects", "count"), SampleType(f"{kind}_space", "bytes")
    with reading("table of memray"):
        builder = Builder(types)
        csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))  # of the process; deep native stacks need it
        for row in csv.DictReader(io.StringIO(text(content), newline="")):
            stack = builder.stack(tuple(map(builder.frame, _frames(row["stack_trace"] or ""))))
            builder.add(stack, (int(row["num_allocations"]), int(row["size"])), builder.labels(_labels(row)))
        return builder.build(recording=Recording(engine="memray", mode="memory"), default_type=types[1].name)


def _frames(trace: str) -> Iterator[Frame]:
    for function, file, line in _FRAME.findall(trace):
        yield Frame(function, file, int(line))


def _labels(row: dict[str, str]) -> Iterator[Label]:
    yield Label("allocator", row["allocator"].lower())
    yield Label(THREAD_ID, int(row["tid"]))
    if not _UNNAMED.fullmatch(row["thread_name"]):
        yield Label(THREAD, row["thread_name"])
