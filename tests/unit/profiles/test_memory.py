"""Heaps: what grew between two, what tracemalloc tells, and V8's snapshots without what their strings say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diag.errors import BadProfile
from diag.profiles import formats, heapsnapshot
from diag.profiles.builder import Builder
from diag.profiles.growth import grown
from diag.profiles.model import Frame, Profile, SampleType

TYPES = [SampleType("inuse_objects", "count"), SampleType("inuse_space", "bytes"), SampleType("alloc_space", "bytes")]
SNAPSHOT = {
    "snapshot": {
        "meta": {
            "node_fields": ["type", "name", "id", "self_size", "edge_count"],
            "node_types": [["hidden", "string", "object", "closure"], "string", "number", "number", "number"],
            "edge_fields": ["type", "name_or_index", "to_node"],
            "edge_types": [["element", "property"], "string_or_number", "node"],
        },
        "node_count": 4,
    },
    "nodes": [2, 0, 1, 32, 1, 2, 0, 3, 16, 1, 1, 1, 5, 40, 0, 3, 2, 7, 8, 0],
    "edges": [1, 3, 10, 0, 4, 10],
    "strings": ["Order", "hunter2", "load", "line", "element 4"],
}


def heap(**stacks: tuple[int, int, int]) -> Profile:
    """A heap of functions, each called by `main`."""
    builder = Builder(TYPES)
    for name, values in stacks.items():
        frames = (builder.frame(Frame(name, "/srv/app.go")), builder.frame(Frame("main", "/srv/app.go")))
        builder.add(builder.stack(frames), values)
    return builder.build(default_type="inuse_space")


def values(profile: Profile) -> dict[str, dict[str, int]]:
    """{function: {column: value}}."""
    return {
        next(profile.frames_of(index)).function: {
            kind.name: column[index] for kind, column in zip(profile.sample_types, profile.values, strict=True)
        }
        for index in range(len(profile))
    }


def dumped(changes: dict[str, Any] | None = None) -> bytes:
    """The snapshot as V8 writes it."""
    return json.dumps({**SNAPSHOT, **(changes or {})}, separators=(",", ":")).encode()


def test_growth_stands_beside_what_is_in_use() -> None:
    """A stack that grew, one that is new, and one that gave everything back."""
    whole = grown(heap(old=(1, 100, 500), gone=(2, 50, 50)), heap(old=(3, 350, 900), new=(1, 10, 10)))

    found = values(whole)
    assert found["old"] == {
        "inuse_objects": 3,
        "inuse_space": 350,
        "alloc_space": 900,
        "growth_objects": 2,
        "growth_space": 250,
    }
    assert (found["new"]["inuse_space"], found["new"]["growth_space"]) == (10, 10)
    assert (found["gone"]["inuse_space"], found["gone"]["growth_space"]) == (0, -50)
    assert whole.sample_types[whole.column()].name == "inuse_space"


@pytest.mark.parametrize("twice", [False, True])
def test_traces(twice: bool) -> None:
    """One look has what is in use, two have what grew as well."""
    table = {"twice": twice, "stacks": [[["load", "/a.py", 3], ["", "/a.py", 9]], []], "rows": [[0, 70, 2, 30, 1]]}

    one = formats.read(json.dumps(table).encode(), "tracemalloc")

    in_use = {"inuse_objects": 2, "inuse_space": 70}
    assert values(one)["load"] == (in_use | {"growth_objects": 1, "growth_space": 40} if twice else in_use)


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"twice": 1, "stacks": [], "rows": [[0, 1, 1, 0, 0]]}'])
def test_no_traces(content: bytes) -> None:
    """What is none is refused with a sentence."""
    with pytest.raises(BadProfile, match="tracemalloc"):
        formats.read(content, "tracemalloc")


def test_types_of_a_snapshot() -> None:
    """Objects by constructor, the rest by kind, most bytes first."""
    assert heapsnapshot.types(heapsnapshot.read(dumped())) == [
        ("Order", 2, 48),
        ("(string)", 1, 40),
        ("(closure)", 1, 8),
    ]


def test_a_blanked_snapshot_keeps_names_alone() -> None:
    """Constructors, functions and properties stay; what strings say does not; the rest is byte for byte the same."""
    content = heapsnapshot.blanked(heapsnapshot.read(dumped()), str.upper)

    strings = json.loads(content)["strings"]
    assert strings == ["ORDER", "[string]", "LOAD", "LINE", "[string]"]
    assert json.loads(content) == {**SNAPSHOT, "strings": strings}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[1]", dumped()[:-30], dumped({"nodes": ["x"]}), dumped({"snapshot": {}})),
        *(dumped({"nodes": [9, 0, 1, 32, 1]}), dumped({"nodes": [2, 99, 1, 32, 1]}), dumped({"strings": "x"})),
    ],
)
def test_no_snapshot(content: bytes) -> None:
    """Whatever stands there, it is a snapshot or refused with a sentence."""
    with pytest.raises(BadProfile):
        snapshot = heapsnapshot.read(content)
        heapsnapshot.types(snapshot)
        heapsnapshot.blanked(snapshot, str)
