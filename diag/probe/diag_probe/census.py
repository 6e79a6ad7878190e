"""Counts the objects of the heap by type, within limits, and without running any code of the program's own.

The collector knows containers only. Strings, numbers and whatever else it does not track are found in them, and once
found, not counted again: a map has one bit for each place in memory where an object can begin, which is 1/64 of the
memory that objects stand in.
"""

import sys
from gc import get_freeze_count, get_objects, get_referents, is_tracked
from itertools import filterfalse
from time import monotonic

TAKES_PART = 1 << 14  # Py_TPFLAGS_HAVE_GC: its objects may lead to others, tracked or not
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
HEAD = 16  # the collector's own part of an object that it tracks
AT_ONCE = 4096  # objects between two looks at the clock
CHUNK_BITS = 16
LAST_BYTE = (1 << CHUNK_BITS - 3) - 1
METHOD = type(list.__sizeof__)
bases_of = type.__dict__["__mro__"].__get__
names_in = type.__dict__["__dict__"].__get__
name_of = type.__dict__["__qualname__"].__get__
module_of = type.__dict__["__module__"].__get__
flags_of = type.__dict__["__flags__"].__get__


def answer(frame, arguments):
    """{"rows": [(module, type, count, bytes), ..] most bytes first, "objects", "bytes", "cut", "left", "largest",
    "frozen"}.

    Arguments: the most `objects`, `seconds` and `rows`. `cut` says which limit ended it; then `left` objects that the
    collector tracks were not looked at. `rows` is cut too, the sums are not. `frozen` (by gc.freeze) are not counted.
    """
    blocks = sys.getallocatedblocks()
    if blocks > arguments["objects"]:
        # The list of them would be a large object of its own, in a program that is large already.
        return {"cut": "objects", "left": blocks, "rows": [], "largest": [], "objects": 0, "bytes": 0, "frozen": 0}
    tracked = get_objects()
    census = Census(monotonic() + arguments["seconds"])
    left = census.count(tracked)
    rows = sorted(census.rows.values(), key=lambda row: row[2], reverse=True)
    return {
        "rows": [(*named(row[0]), row[1], row[2]) for row in rows[: arguments["rows"]]],
        "objects": sum(row[1] for row in rows),
        "bytes": sum(row[2] for row in rows),
        "cut": "seconds" if census.left_out else "",
        "left": left,
        "largest": [(*named(kind), size, length) for size, kind, length in census.rank()],
        "frozen": get_freeze_count(),
    }


class Census:
    """Sums by type, each [type, count, bytes, how its size is asked for, the collector's part of each]."""

    def __init__(self, until):
        self.until = until
        self.left_out = False
        self.rows = {}
        self.seen = {}
        self.largest = []
        self.bar = 4096

    def count(self, tracked):
        """Count these, and what they lead to that the collector does not track; how many were left at the end."""
        for index in range(0, len(tracked), AT_ONCE):
            some = tracked[index : index + AT_ONCE]
            self.add(some)
            if not self.follow(some):
                return max(0, len(tracked) - index - AT_ONCE)
        return 0

    def follow(self, some):
        """Count what these lead to, each once; whether there was time for all of it."""
        waiting = [some]
        while waiting:
            found = get_referents(*waiting.pop())
            for index in range(0, len(found), 4 * AT_ONCE):
                if monotonic() > self.until:
                    self.left_out = True
                    return False
                part = found[index : index + 4 * AT_ONCE]
                # What many hold, such as None, stands in there many times.
                part = dict(zip(map(id, part), part)).values()
                leading = self.add(self.new(filterfalse(is_tracked, part)))
                if leading:
                    waiting.append(leading)
        return True

    def new(self, some):
        """Those of them whose place was not marked; it is now."""
        seen, found = self.seen, []
        for one in some:
            place = id(one) >> 3
            chunk = seen.get(place >> CHUNK_BITS)
            if chunk is None:
                chunk = seen[place >> CHUNK_BITS] = bytearray(1 << CHUNK_BITS - 3)
            at, bit = (place >> 3) & LAST_BYTE, 1 << (place & 7)
            if not chunk[at] & bit:
                chunk[at] |= bit
                found.append(one)
        return found

    def add(self, some):
        """Add these to the sums of their types; those of them that may lead to others."""
        rows, leading = self.rows, []
        for one in some:
            kind = type(one)
            row = rows.get(id(kind))  # by number: a metaclass may have a __hash__ of its own
            if row is None:
                row = rows[id(kind)] = [kind, 0, 0, sizer_of(kind), HEAD if flags_of(kind) & TAKES_PART else 0]
            size = row[3](one) + row[4]
            row[1] += 1
            row[2] += size
            if row[4]:
                leading.append(one)
            if size > self.bar:
                self.note_large(one, kind, size)
        return leading

    def note_large(self, one, kind, size):
        """Keep the ten largest."""
        self.largest.append((size, kind, length_of(one, kind)))
        if len(self.largest) >= 40:
            self.rank()
            self.bar = self.largest[-1][0]

    def rank(self):
        """The ten largest, the largest first."""
        self.largest = sorted(self.largest, key=lambda row: row[0], reverse=True)[:10]
        return self.largest


def mro_of(kind):
    """Empty for a type that C code has not made ready, as one of asyncio's was before 3.10."""
    return bases_of(kind) or ()


def sizer_of(kind):
    """The `__sizeof__` that is written in C and nearest to this type: one in Python would be the program's own code."""
    for base in mro_of(kind):
        method = names_in(base).get("__sizeof__")
        if type(method) is METHOD:
            return method
    return object.__sizeof__


def length_of(one, kind):
    """How many things are in a container of the built-in kinds, or -1."""
    for base in (dict, list, set, frozenset, tuple, str, bytes, bytearray):
        if base in mro_of(kind):
            return base.__len__(one)
    return -1


def named(kind):
    """(module, name) as the type says it, whatever its metaclass says."""
    heap_type = flags_of(kind) & HEAP_TYPE
    module = names_in(kind).get("__module__") if heap_type else module_of(kind)
    return text(module), text(name_of(kind))


def text(value):
    """The value, where it is a text that can be sent."""
    return value[:200].encode("utf-8", "replace").decode() if type(value) is str else ""
