"""pprof, in and out."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import FRAMES, PLACED, header, profile, profiles, rows

from diag.errors import BadProfile
from diag.profiles import pprof_read, pprof_write
from diag.profiles.builder import Builder
from diag.profiles.model import NO_TIME, Frame, Label, Mapping, Profile, Recording, SampleType
from diag.profiles.wire import bytes_field, number_field, packed_field

MAPPED = Mapping(0x1000, 0x2000, 0, "/srv/app", "abcd", True, True, False, True)
STRINGS = b"".join(bytes_field(6, text) for text in (b"", b"cpu", b"nanoseconds", b"key"))
TYPE = bytes_field(1, number_field(1, 1) + number_field(2, 2))


def again(one: Profile) -> Profile:
    """Written and read."""
    return pprof_read.read(pprof_write.write(one))


@given(st.booleans().flatmap(lambda timed: profiles(timed=timed)))
def test_nothing_is_lost(one: Profile) -> None:
    """Frames, labels with units, values, moments, mappings and the header come back as they were."""
    back = again(one)
    assert (rows(back), header(back)) == (rows(one), header(one))


@given(profiles())
def test_the_same_profile_makes_the_same_bytes(one: Profile) -> None:
    """No time, no order of chance: equal profiles are equal files, and reading and writing again changes nothing."""
    written = pprof_write.write(one)
    assert pprof_write.write(one) == written
    assert pprof_write.write(pprof_read.read(written)) == written


def test_inlined_frames_share_a_location() -> None:
    """Frames that were inlined stay so, innermost first, with one address."""
    builder = Builder([SampleType("cpu", "nanoseconds")])
    inner = Frame("memcpy", "m.c", 3, address=0x1234, mapping=MAPPED, inlined=True)
    outer = Frame("printf", "p.c", 9, address=0x1234, mapping=MAPPED)
    caller = Frame("main", "p.c", 20, address=0x1300, mapping=MAPPED)
    builder.add(builder.stack(tuple(map(builder.frame, (inner, outer, caller)))), (5,))

    written = pprof_write.write(builder.build())

    assert list(pprof_read.read(written).frames_of(0)) == [inner, outer, caller]
    assert gzip.decompress(written).count(b"\x18\xb4\x24") == 1  # the address, in one location only


def test_what_no_sample_needs_is_kept() -> None:
    """Mappings without a frame, frames to drop and to keep, and the page about the profile come back."""
    one = replace(
        profile(("main", 1)), mappings=(MAPPED, Mapping(file="[vdso]")), drop_frames="a|b", keep_frames="b", doc_url="x"
    )
    back = again(one)
    assert (back.mappings, back.drop_frames, back.keep_frames, back.doc_url) == (one.mappings, "a|b", "b", "x")


def test_lost_samples_are_a_comment_and_no_stack() -> None:
    """What was lost or invalid is counted in a comment; no sample stands for it."""
    one = replace(profile(("main", 1)), recording=Recording("py-spy", lost=3, invalid=2), comments=("mine",))
    back = again(one)
    assert (back.recording, back.comments, len(back)) == (one.recording, ("mine",), 1)
    assert b'diag {"engine": "py-spy", "invalid": 2, "lost": 3}' in gzip.decompress(pprof_write.write(one))


@pytest.mark.parametrize(
    "comment", ["diag ", "diag {}", "diag {", 'diag {"lost": "x"}', 'diag {"lost": 1.5}', 'diag { "lost": 1}']
)
def test_a_comment_that_only_looks_like_ours_is_kept(comment: str) -> None:
    """Somebody else's comment stays a comment."""
    back = again(replace(profile(("main", 1)), comments=(comment,)))
    assert (back.comments, back.recording) == ((comment,), Recording())


def test_moments_that_are_not_known_stay_unknown() -> None:
    """Only the samples that have a moment have one afterwards."""
    one = profile(("main", 1, [], 5), ("main", 2, [], NO_TIME), ("main", 3, [], -7))
    back = again(one)
    assert back.times is not None
    assert list(back.times) == [5, NO_TIME, -7]


def test_a_label_that_only_looks_like_a_moment_stays_a_label() -> None:
    """Another unit makes `timestamp_ns` somebody else's label."""
    builder = Builder([SampleType("cpu", "nanoseconds")])
    odd = Label("timestamp_ns", 5, "seconds")
    builder.add(builder.stack(()), (1,), builder.labels([odd, Label("unit", "nanoseconds")]))
    assert odd in again(builder.build()).label_sets[1]


def test_numbers_may_be_packed_or_not() -> None:
    """Go writes one or two numbers unpacked, in any order of the fields; both read alike."""
    places = bytes_field(4, number_field(1, 300)), bytes_field(4, number_field(1, 2))
    packed = packed_field(1, [300, 2]) + packed_field(2, [7])
    loose = number_field(2, 7) + number_field(1, 300) + number_field(1, 2)
    one, other = (pprof_read.read(TYPE + bytes_field(2, body) + b"".join(places) + STRINGS) for body in (packed, loose))
    assert rows(one) == rows(other)
    assert len(one.stacks[0]) == 2


def test_fields_of_later_versions_are_passed_over() -> None:
    """A field that is not known, of any wire type, changes nothing."""
    more = number_field(99, 5) + bytes_field(98, b"x") + b"\xa9\x06" + bytes(8) + b"\xad\x06" + bytes(4)
    one = pprof_read.read(more + TYPE + bytes_field(2, packed_field(2, [7]) + more) + STRINGS)
    assert one.total(0) == 7


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no sample type"),
        (STRINGS, "no sample type"),
        (TYPE, "String 1 is named, and there are 1"),
        (TYPE + STRINGS + bytes_field(2, packed_field(1, [9]) + packed_field(2, [1])), "location 9, which is not"),
        (TYPE + STRINGS + bytes_field(2, packed_field(2, [1, 2])), "2 values for 1 sample types"),
        (TYPE + STRINGS + bytes_field(2, b""), "0 values for 1 sample types"),
        (TYPE + STRINGS + bytes_field(4, number_field(1, 1) + number_field(2, 8)), "mapping 8, which is not"),
        (
            TYPE + STRINGS + bytes_field(4, number_field(1, 1) + bytes_field(4, number_field(1, 6))),
            "function 6, which is not",
        ),
        (TYPE + STRINGS + b"\x12\x05\x00", "says that it has 5 bytes; 1 are left"),
        (TYPE + STRINGS + b"\x22\xff\xff\xff\xff\x0f", "are left"),
        (TYPE + STRINGS + b"\x22\xff", "cut off"),
        (TYPE + STRINGS + b"\x27", "wire type 7"),
        (TYPE + STRINGS + bytes_field(2, bytes_field(1, b"\xff") + packed_field(2, [1])), "cut off"),
        (TYPE + STRINGS + bytes_field(11, b"\x12\x00"), "has to be a number"),
    ],
)
def test_a_damaged_file_says_where(body: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        pprof_read.read(body)


@given(st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    """Whatever bytes are changed or cut off: it reads, or says BadProfile."""
    plain = bytearray(gzip.decompress(pprof_write.write(data.draw(profiles(frames=FRAMES | PLACED, timed=True)))))
    for _ in range(data.draw(st.integers(0, 3))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = pprof_read.read(bytes(plain[: data.draw(st.integers(0, len(plain)))]))
    except BadProfile:
        return
    assert len(found) == len(found.labels_of)


def test_inlining_cannot_fill_the_memory() -> None:
    """A small file whose locations have many lines, named many times, is refused."""
    lines = b"".join(bytes_field(4, number_field(2, line)) for line in range(1, 2000))
    body = TYPE + STRINGS + bytes_field(4, number_field(1, 1) + lines)
    with pytest.raises(BadProfile, match="frames deep"):
        pprof_read.read(body + bytes_field(2, packed_field(1, [1] * 60_000) + packed_field(2, [1])))
