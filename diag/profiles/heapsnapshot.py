"""V8's `.heapsnapshot`: its objects by type, and the same file without what its strings say.

The file is one JSON document. Its long lists hold numbers alone, and are read as such, eight bytes each: parsed as
JSON they would take ten times the file. What a string of the program says stands only in the last list, `strings`.

Source: https://chromedevtools.github.io/devtools-protocol/v8/HeapProfiler/, and heap-snapshot-generator.cc of V8.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diag.errors import BadProfile
from diag.profiles.limits import bounded, reading

MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024
_TEXTS = ("string", "concatenated string", "sliced string", "regexp", "number", "bigint")
# Kinds of nodes whose name is no type: how they are called together.
_TOGETHER = {
    **dict.fromkeys(("string", "concatenated string", "sliced string"), "(string)"),
    "code": "(compiled code)",
    "closure": "(closure)",
    "regexp": "(regexp)",
    "number": "(number)",
    "hidden": "(system)",
    "synthetic": "(system)",
    "symbol": "(symbol)",
    "bigint": "(bigint)",
    "array": "(array)",
    "object shape": "(shape)",
}
_NAMED_EDGES = ("context", "property", "internal", "shortcut", "weak")
_BATCH = 1 << 22
_HIDDEN = "[string]"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lists of a snapshot, and where in its bytes the strings stand."""

    content: bytes
    meta: dict[str, Any]
    nodes: array[int]
    edges: array[int]
    strings: list[str]
    strings_at: int


def read(content: bytes) -> Snapshot:
    """The snapshot. Raises BadProfile."""
    with reading("heap snapshot of V8"):
        bounded(content, MAX_SNAPSHOT_BYTES)
        head_ends = content.index(b'"nodes":[')
        meta = json.loads(content[:head_ends].rstrip().rstrip(b",") + b"}")["snapshot"]["meta"]
        at = content.rindex(b'"strings":[') + len(b'"strings":')
        strings = json.loads(content[at : content.rindex(b"}")])
        return Snapshot(content, meta, _numbers(content, b"nodes"), _numbers(content, b"edges"), strings, at)


def types(snapshot: Snapshot) -> list[tuple[str, int, int]]:
    """(type, count, bytes), most bytes first: constructors by name, the rest by kind in brackets. Raises BadProfile."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with reading("heap snapshot of V8"):
        kinds, step, kind_at, name_at = _columns(snapshot, "node")
        size_at = snapshot.meta["node_fields"].index("self_size")
        pairs: dict[tuple[int, int], list[int]] = {}
        columns = (snapshot.nodes[at::step] for at in (kind_at, name_at, size_at))
        for kind, name, size in zip(*columns, strict=True):
            row = pairs.get((kind, name))
            if row is None:
                row = pairs[kind, name] = sums[_TOGETHER.get(kinds[kind]) or snapshot.strings[name]]
            row[0] += 1
            row[1] += size
    found = [(name, count, size) for name, (count, size) in sums.items()]
    return sorted(found, key=lambda row: (-row[2], row[0]))


def blanked(snapshot: Snapshot, redact: Callable[[str], str]) -> bytes:
    """The same snapshot with names of types, functions and properties, through `redact`, and nothing of its strings.

    Raises BadProfile.
    """
    with reading("heap snapshot of V8"):
        kinds, step, kind_at, name_at = _columns(snapshot, "node")
        texts = {number for number, kind in enumerate(kinds) if kind in _TEXTS}
        found = set(zip(snapshot.nodes[kind_at::step], snapshot.nodes[name_at::step], strict=True))
        kept = {name for kind, name in found if kind not in texts}
        kinds, step, kind_at, name_at = _columns(snapshot, "edge")
        named = {number for number, kind in enumerate(kinds) if kind in _NAMED_EDGES}
        links = set(zip(snapshot.edges[kind_at::step], snapshot.edges[name_at::step], strict=True))
        kept |= {name for kind, name in links if kind in named}
        strings = [redact(one) if number in kept else _HIDDEN for number, one in enumerate(snapshot.strings)]
        return snapshot.content[: snapshot.strings_at] + json.dumps(strings).encode() + b"}"


def _columns(snapshot: Snapshot, what: str) -> tuple[list[str], int, int, int]:
    """(names of kinds, numbers a row, place of the kind, place of the name) of nodes or edges."""
    fields = snapshot.meta[f"{what}_fields"]
    name = "name" if what == "node" else "name_or_index"
    return snapshot.meta[f"{what}_types"][fields.index("type")], len(fields), fields.index("type"), fields.index(name)


def _numbers(content: bytes, name: bytes) -> array[int]:
    start = content.index(b'"' + name + b'":[') + len(name) + 4
    end = content.index(b"]", start)
    found = array("q")
    while start < end:
        until = end if end - start <= _BATCH else content.index(b",", start + _BATCH, end)
        batch = content[start:until]
        if re.search(rb"[^\d,\s]", batch):
            raise BadProfile(f"The list {name.decode()} of this heap snapshot holds more than numbers.")
        found.extend(map(int, batch.split(b",")))
        start = until + 1
    return found
