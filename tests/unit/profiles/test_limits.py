"""Hostile sizes, and which format some content is in."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import profile

from diag.errors import BadProfile, DiagError, UsageError
from diag.profiles import builder, formats, limits
from diag.profiles.builder import Builder
from diag.profiles.model import Frame


def test_gzip_is_unpacked_member_by_member() -> None:
    """Two gzip streams in one file are one content, as gunzip has it."""
    assert limits.unpacked(gzip.compress(b"one") + gzip.compress(b" two")) == b"one two"
    assert limits.unpacked(b"plain") == b"plain"


def test_a_gzip_bomb_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that grows out of proportion is refused before it is all in memory."""
    monkeypatch.setattr(limits, "_SURE_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(32 << 20))
    with pytest.raises(BadProfile, match="unpacks to more than"):
        limits.unpacked(bomb)


@pytest.mark.parametrize("size", [3, 12, 40])
def test_a_gzip_stream_that_is_cut_off_says_so(size: int) -> None:
    """Half a stream is no whole one."""
    with pytest.raises(BadProfile, match="cut off"):
        limits.unpacked(gzip.compress(bytes(range(256)))[:size])


def test_a_damaged_gzip_stream_says_so() -> None:
    """A wrong check sum is told."""
    content = bytearray(gzip.compress(b"x" * 100))
    content[-6] ^= 1
    with pytest.raises(BadProfile, match="damaged"):
        limits.unpacked(bytes(content))


def test_large_content_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the limit is not looked at."""
    monkeypatch.setattr(limits, "MAX_JSON_BYTES", 10)
    with pytest.raises(BadProfile, match="10 are the limit"):
        limits.document(b'{"a": "0123456789"}')


def test_stacks_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth, the frames that are kept, the frames that are seen, and samples all have a limit."""
    many = Builder([])
    with pytest.raises(BadProfile, match="frames deep"):
        many.stack((0,) * (builder.MAX_DEPTH + 1))
    for name, limit in (("MAX_FRAMES_KEPT", 10), ("MAX_FRAMES_SEEN", 15)):
        monkeypatch.setattr(builder, name, limit)
        few = Builder([])
        few.frame(Frame("f"))
        few.stack((0,) * 8)
        with pytest.raises(BadProfile, match="too many and too deep"):
            few.stack((0,) * 8) if name == "MAX_FRAMES_SEEN" else few.stack((0,) * 9)
    monkeypatch.setattr(builder, "MAX_SAMPLES", 1)
    with pytest.raises(BadProfile, match="more than 1 samples"):
        few.extend([0, 0], [0, 0], [])


@pytest.mark.parametrize("form", formats.WRITERS)
def test_what_is_written_is_recognised(form: str) -> None:
    """Each format that is written and read is known by its content again, gzipped or not."""
    content = formats.write(profile(("main;work", 5)), form)
    if form in formats.READERS:
        assert formats.detect(content) == form
        assert formats.detect(gzip.compress(content)) == form
        assert formats.read(content).total(0) in (1, 5)
    assert form in formats.SUFFIXES
    assert form in formats.CONTENT_TYPES


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"MOJ\x03", "mojo"),
        (b'{"nodes": [], "timeDeltas": []}', "cpuprofile"),
        (b' {"head": {}}', "heapprofile"),
        (b'{"traceEvents": []}', "chrometrace"),
        (b'[{"ph": "B"}]', "chrometrace"),
        (b"allocator,num_allocations,size,tid,thread_name,stack_trace\r\n", "memray"),
        (b"a 1 [000]   5.1:  1 cycles: \n\t 10 f (x)\n", "perf"),
        (b"# austin: 3.7.0\n# mode: wall\n\nP1;T0:1 5\n", "collapsed"),
        (b"main;work 5", "collapsed"),
        (b"\x0a\x04\x08\x01\x10\x02", "pprof"),
    ],
)
def test_formats_are_told_by_their_content(content: bytes, form: str) -> None:
    """No name of a file is needed."""
    assert formats.detect(content) == form


@pytest.mark.parametrize(("content", "says"), [(b"", "empty"), (b"hello, world\n", "no profile format")])
def test_other_content_is_no_profile(content: bytes, says: str) -> None:
    """What is in no format is told so."""
    with pytest.raises(BadProfile, match=says):
        formats.read(content)


def test_unknown_formats_are_named() -> None:
    """A format that does not exist is a wrong usage, and the known ones are told."""
    with pytest.raises(UsageError, match="'nope'") as told:
        formats.read(b"", "nope")
    assert "pprof" in told.value.help_text
    with pytest.raises(UsageError, match="'mojo'"):
        formats.write(profile(("a", 1)), "mojo")


@pytest.mark.parametrize("form", formats.READERS)
@given(content=st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_reader_raises_anything_else(form: str, content: bytes) -> None:
    """Whatever the bytes are: a profile, or an error that can be told."""
    try:
        formats.read(content, form)
    except DiagError as error:
        assert str(error)
