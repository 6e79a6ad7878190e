"""pprof to a profile: what Go, gperftools, and others write, gzipped or plain.

Source: https://github.com/google/pprof/blob/main/proto/profile.proto
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

from diag.errors import BadProfile
from diag.profiles import recording
from diag.profiles.builder import MAX_DEPTH, Builder
from diag.profiles.limits import reading, unpacked
from diag.profiles.model import NO_TIME, Frame, Label, Mapping, Profile, SampleType
from diag.profiles.pprof_write import TIME_LABEL
from diag.profiles.wire import field_at, fields, number_field, numbers, pieces, read_varint, signed, varint

Fields = dict[int, list[Any]]
Parts = tuple[bytes, bytes, bytes]
_MAX_LINES = 1_000_000  # of all locations together
_SAMPLE_KEY = 0x12  # field 2 of a profile
_FIRST = re.compile(rb"[\x80-\xff]*[\x00-\x7f]")  # of packed numbers
_PLACES_KEY, _VALUES_KEY, _LABEL_KEY = 0x0A, 0x12, 0x1A  # fields 1, 2 and 3 of a sample, as packed numbers and messages


def read(content: bytes) -> Profile:
    """The profile. Raises BadProfile."""
    with reading("pprof profile"):
        message, samples = _split(unpacked(content))
        return _Reader(message, samples).profile()


class _Samples(NamedTuple):
    """The samples as they stand in the file, each different one once, and which of them follow each other."""

    bodies: list[bytes]
    order: array[int]


def _split(data: bytes) -> tuple[Fields, _Samples]:
    """(all fields but samples by number, the samples). A million samples want a short way through."""
    message: Fields = {}
    known: dict[bytes, int] = {}
    order = array("I")
    number, follow = known.setdefault, order.append
    at, end = 0, len(data)
    while at < end:
        if data[at] != _SAMPLE_KEY:
            field, value, at = field_at(data, at, end)
            message.setdefault(field, []).append(value)
            continue
        size, begin = (data[at + 1], at + 2) if at + 1 < end and data[at + 1] < 128 else read_varint(data, at + 1)
        at = begin + size
        if at > end:
            raise BadProfile(f"The sample at byte {begin} says that it has {size} bytes; {end - begin} are left.")
        follow(number(data[begin:at], len(known)))
    return message, _Samples(list(known), order)


class _Reader:
    def __init__(self, message: Fields, samples: _Samples) -> None:
        self._message = message
        self._samples = samples
        self._strings = [text.decode("utf-8", "replace") for text in message.get(6, [])] or [""]
        self._mappings = {_one(one, 1): self._mapping(one) for one in map(_fields, message.get(3, []))}
        self._functions = {_one(one, 1): one for one in map(_fields, message.get(5, []))}
        types = [self._type(_fields(body)) for body in message.get(1, [])]
        if not types:
            raise BadProfile("This is no pprof profile: it has no sample type.")
        timed = {TIME_LABEL.key, TIME_LABEL.unit} <= set(self._strings)
        self._time_start, self._time_end = self._time_label() if timed else (b"", b"")
        self._builder = Builder(types, timed=timed)
        self._by_piece = _ByPiece(self._read_locations())
        self._frames_at = _Known(self._read_frames)
        self._stacks, self._label_sets, self._counts = map(_Known, (self._stack, self._label_set, self._values))

    def profile(self) -> Profile:
        """The profile, all of it read."""
        self._read_samples()
        comments = [self._text(index) for index in _many(self._message.get(13, []))]
        taken, others = recording.found(comments)
        period_type = self._message.get(11)
        return self._builder.build(
            mappings=tuple(dict.fromkeys(self._mappings.values())),
            recording=taken,
            comments=others,
            start_ns=signed(_one(self._message, 9)),
            duration_ns=signed(_one(self._message, 10)),
            period_type=self._type(_fields(period_type[-1])) if period_type else None,
            period=signed(_one(self._message, 12)),
            drop_frames=self._text(_one(self._message, 7)),
            keep_frames=self._text(_one(self._message, 8)),
            default_type=self._text(_one(self._message, 14)),
            doc_url=self._text(_one(self._message, 15)),
        )

    def _time_label(self) -> tuple[bytes, bytes]:
        """How the label of a sample's moment starts and ends in this file, around the number."""
        start = number_field(1, self._strings.index(TIME_LABEL.key)) + b"\x18"
        return start, number_field(4, self._strings.index(TIME_LABEL.unit))

    def _text(self, index: int) -> str:
        if index >= len(self._strings):
            raise BadProfile(f"String {index} is named, and there are {len(self._strings)}.")
        found: str = self._strings[index]
        return found

    def _type(self, found: Fields) -> SampleType:
        return SampleType(self._text(_one(found, 1)), self._text(_one(found, 2)))

    def _mapping(self, found: Fields) -> Mapping:
        start, limit, offset = (_one(found, field) for field in (2, 3, 4))
        file, build_id = (self._text(_one(found, field)) for field in (5, 6))
        resolved = (bool(_one(found, field)) for field in (7, 8, 9, 10))
        return Mapping(start, limit, offset, file, build_id, *resolved)

    def _read_locations(self) -> dict[int, tuple[int, ...]]:
        """The frames of each location, by its id."""
        found: dict[int, tuple[int, ...]] = {}
        left = _MAX_LINES
        for body in self._message.get(4, []):
            one = _fields(body)
            left -= len(one.get(4, [])) or 1
            if left < 0:
                raise BadProfile(f"The locations of this profile have more than {_MAX_LINES} lines.")
            found[_one(one, 1)] = tuple(map(self._builder.frame, self._frames(one)))
        return found

    def _frames(self, location: Fields) -> Iterable[Frame]:
        mapping_id = _one(location, 2)
        if mapping_id and mapping_id not in self._mappings:
            raise BadProfile(f"Location {_one(location, 1)} lies in mapping {mapping_id}, which is not there.")
        address, folded = _one(location, 3), bool(_one(location, 5))
        place = address, self._mappings.get(mapping_id)
        lines = location.get(4, [])
        if not lines:
            yield Frame("", "", 0, 0, "", 0, *place, folded=folded)
        for number, body in enumerate(lines, 1):
            line = _fields(body)
            function_id = _one(line, 1)
            if function_id and function_id not in self._functions:
                raise BadProfile(f"A line belongs to function {function_id}, which is not there.")
            function = self._functions.get(function_id, {})
            name, system_name, file = (self._text(_one(function, field)) for field in (2, 3, 4))
            start, at, column = signed(_one(function, 5)), signed(_one(line, 2)), signed(_one(line, 3))
            inlined = number < len(lines)
            yield Frame(name, file, at, column, system_name, start, *place, inlined, folded)

    def _read_samples(self) -> None:
        stacks, labels, moments = array("I"), array("I"), array("q")
        values = [array("q") for _ in self._builder.sample_types]
        for body in self._samples.bodies:
            places, counted, tags = _parts(body)
            if self._time_start:
                moment, tags = self._take_time(tags)
                moments.append(moment)
            # Each decoded once: most stand in many samples.
            stacks.append(self._stacks[places])
            labels.append(self._label_sets[tags])
            for column, value in zip(values, self._counts[counted], strict=True):
                column.append(value)
        stacks, labels, moments, *values = (
            array(one.typecode, map(one.__getitem__, self._samples.order)) if one else one
            for one in (stacks, labels, moments, *values)
        )
        self._builder.extend(stacks, labels, values, moments or None)

    def _values(self, counted: bytes) -> list[int]:
        found = [signed(value) for value in numbers(counted)]
        width = len(self._builder.sample_types)
        if len(found) != width:
            raise BadProfile(f"A sample has {len(found)} values for {width} sample types.")
        return found

    def _stack(self, places: bytes) -> int:
        """The stack of these packed locations. What calls it is often known from another stack already."""
        first = _FIRST.match(places)
        if first is None:
            return self._builder.stack(self._frames_at[places])
        frames = (*self._by_piece[first[0]], *self._frames_at[places[first.end() :]])
        self._frames_at[places] = frames
        return self._builder.stack(frames)

    def _read_frames(self, places: bytes) -> tuple[int, ...]:
        found = [self._by_piece[piece] for piece in pieces(places)]
        if sum(map(len, found)) > MAX_DEPTH:
            raise BadProfile(f"A stack is more than {MAX_DEPTH} frames deep.")
        return tuple(chain.from_iterable(found))

    def _label_set(self, tags: bytes) -> int:
        return self._builder.labels(self._labels(tags))

    def _take_time(self, tags: bytes) -> tuple[int, bytes]:
        """(the moment, the labels without it)."""
        at = 0
        while at < len(tags) and tags[at] == _LABEL_KEY:
            size, begin = read_varint(tags, at + 1)
            end = begin + size
            if tags.startswith(self._time_start, begin) and tags.endswith(self._time_end, begin, end):
                moment, last = read_varint(tags, begin + len(self._time_start))
                if last == end - len(self._time_end) and signed(moment) != NO_TIME:
                    return signed(moment), tags[:at] + tags[end:]
            at = end
        return NO_TIME, tags

    def _labels(self, tags: bytes) -> Iterable[Label]:
        for field, body in fields(tags):
            if field != 3:
                continue
            if isinstance(body, int):
                raise BadProfile("A label of a sample is a number.")
            found = _fields(body)
            text = self._text(_one(found, 2))
            yield Label(self._text(_one(found, 1)), text or signed(_one(found, 3)), self._text(_one(found, 4)))


class _Known(dict[Any, Any]):
    """Remembers what each piece of the file was read as."""

    def __init__(self, read_it: Callable[[Any], Any]) -> None:
        super().__init__()
        self._read_it = read_it

    def __missing__(self, piece: bytes) -> Any:
        self[piece] = found = self._read_it(piece)
        return found


class _ByPiece(dict[bytes, Any]):
    """Looks a location up by its id as it stands in the file, which saves decoding millions of numbers."""

    def __init__(self, by_id: dict[int, Any]) -> None:
        super().__init__((varint(key), found) for key, found in by_id.items())
        self._by_id = by_id

    def __missing__(self, piece: bytes) -> Any:
        number = read_varint(piece, 0)[0]  # an encoding may be longer than it has to be
        if number not in self._by_id:
            raise BadProfile(f"A sample was taken at location {number}, which is not there.")
        return self._by_id[number]


def _parts(body: bytes) -> Parts:
    """The packed location ids of a sample, its packed values, and its label fields."""
    # Nearly all writers put packed places before packed values before labels; the others take the long way.
    end = len(body)
    first, last = 2, 0
    if end > 2 and body[0] == _PLACES_KEY:
        size = body[1]
        if size > 127:
            size, first = read_varint(body, 1)
        last = first + size
    after = last + 2 + body[last + 1] if last + 2 <= end else end + 1
    known = after <= end and body[last] == _VALUES_KEY and body[last + 1] < 128
    if known and (after == end or body[after] == _LABEL_KEY):
        return body[first:last], body[last + 2 : after], body[after:]
    return _any_parts(body)


def _any_parts(body: bytes) -> Parts:
    """The same of a sample whose fields stand in any order, or unpacked."""
    places: list[bytes] = []
    values: list[bytes] = []
    tags: list[bytes] = []
    for field, value in fields(body):
        if field in (1, 2):
            packed = varint(value) if isinstance(value, int) else value
            (places if field == 1 else values).append(packed)
        elif field == 3 and isinstance(value, bytes):
            tags.append(b"\x1a" + varint(len(value)) + value)
    return b"".join(places), b"".join(values), b"".join(tags)


def _fields(body: bytes) -> Fields:
    found: Fields = {}
    at, end = 0, len(body)
    while at < end:
        field, value, at = field_at(body, at, end)
        found.setdefault(field, []).append(value)
    return found


def _one(found: Fields, field: int) -> int:
    """A number; the last one counts, and 0 is what proto3 leaves out."""
    value = found[field][-1] if field in found else 0
    if not isinstance(value, int):
        raise BadProfile(f"Field {field} has to be a number.")
    return value


def _many(values: list[int | bytes]) -> Iterable[int]:
    for value in values:
        yield from [value] if isinstance(value, int) else numbers(value)
