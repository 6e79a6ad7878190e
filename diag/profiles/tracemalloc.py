"""What diag's probe tells of the traces of `tracemalloc`, to a profile of memory.

A document of JSON: `stacks` are lists of [function, file, line], innermost first; `rows` are [number of the stack,
bytes, objects, bytes before, objects before]; `twice` says whether there was a look before.
"""

from __future__ import annotations

from diag.profiles.builder import Builder
from diag.profiles.limits import document, reading
from diag.profiles.model import Frame, Profile, Recording, SampleType

_IN_USE = (SampleType("inuse_objects", "count"), SampleType("inuse_space", "bytes"))
_GROWTH = (SampleType("growth_objects", "count"), SampleType("growth_space", "bytes"))


def read(content: bytes) -> Profile:
    """What is in use by where it was allocated, and what grew where there were two looks. Raises BadProfile."""
    with reading("table of tracemalloc"):
        found = document(content)
        twice = bool(found["twice"])
        builder = Builder((*_IN_USE, *_GROWTH) if twice else _IN_USE)
        stacks = [
            builder.stack(tuple(builder.frame(Frame(str(name), str(file), int(line))) for name, file, line in stack))
            for stack in found["stacks"]
        ]
        for stack, size, count, size_before, count_before in found["rows"]:
            grown = (count - count_before, size - size_before) if twice else ()
            builder.add(stacks[stack], (int(count), int(size), *map(int, grown)))
        return builder.build(recording=Recording(engine="tracemalloc", mode="memory"), default_type=_IN_USE[1].name)
