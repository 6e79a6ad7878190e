"""MOJO, byte by byte; austin itself is run in the integration tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import BadProfile
from diag.profiles import mojo
from diag.profiles.model import Frame, Label


def number(value: int) -> bytes:
    """A varint as MOJO has it: six bits and the sign first, then seven bits a byte."""
    rest = abs(value) >> 6
    out = [abs(value) & 63 | (64 if value < 0 else 0) | (128 if rest else 0)]
    while rest:
        out.append(rest & 127 | (128 if rest > 127 else 0))
        rest >>= 7
    return bytes(out)


def text(value: str) -> bytes:
    """A string, which ends with a NUL."""
    return value.encode() + b"\0"


HEAD = b"MOJ" + number(3)
MODE = b"\x01" + text("mode") + text("full") + b"\x01" + text("interval") + text("10000")
STACK = b"\x02" + number(7) + number(0) + text("1f")
NAMES = b"\x0b" + number(100) + text("/srv/app.py") + b"\x0b" + number(101) + text("work")
FRAME = b"\x03" + b"".join(map(number, (500, 100, 101, 9, 10, 4, 8)))
METRICS = b"\x09" + number(10_000) + b"\x0a" + number(-4096)
WHOLE = HEAD + MODE + STACK + NAMES + FRAME + b"\x05" + number(500) + METRICS


def test_the_example_of_the_specification() -> None:
    """`C3 02` is -131."""
    assert number(-131) == b"\xc3\x02"
    one = mojo.read(HEAD + MODE + STACK + b"\x0a\xc3\x02")
    assert one.values[1][0] == -131


def test_a_sample() -> None:
    """A frame is defined once and referred to; metrics end the sample, thread ids are hexadecimal."""
    again = STACK + b"\x05" + number(500) + b"\x06" + text("sys_read") + b"\x07\x08" + METRICS
    one = mojo.read(WHOLE + again + b"\x01" + text("duration") + text("20000"))
    work = Frame("work", "/srv/app.py", 9, 4)
    assert [list(one.frames_of(0)), list(one.frames_of(1))] == [[work], [Frame("sys_read", "[kernel]"), work]]
    assert one.label_sets[1:] == (
        (Label("pid", 7), Label("thread_id", 31)),
        (Label("pid", 7), Label("thread_id", 31), Label("state", "idle")),
    )
    assert [column[0] for column in one.values] == [1, -4096, 10_000_000]
    assert one.times is not None
    assert (list(one.times), one.duration_ns) == ([10_000_000, 20_000_000], 20_000_000)


def test_an_invalid_sample_is_counted_and_not_drawn() -> None:
    """The frames that were read of it are no stack."""
    one = mojo.read(WHOLE + STACK + b"\x05" + number(500) + b"\x04" + METRICS)
    assert (len(one), one.recording.invalid) == (1, 1)


def test_processes_have_keys_of_their_own() -> None:
    """The same key names other things in another process."""
    other = STACK.replace(number(7), number(8), 1) + NAMES.replace(b"work", b"rest") + FRAME + b"\x05" + number(500)
    one = mojo.read(WHOLE + other + METRICS)
    assert [frame.function for frame in one.frames] == ["work", "rest"]


@given(st.integers(0, len(WHOLE) * 2))
def test_a_file_that_is_cut_off_keeps_what_it_has(size: int) -> None:
    """Killed while it wrote: all samples before the cut, or a sentence."""
    whole = WHOLE + WHOLE[len(HEAD) :]
    try:
        one = mojo.read(whole[:size])
    except BadProfile as error:
        assert size < len(WHOLE), error
    else:
        assert len(one) <= 2


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Whatever follows the header: it reads, or says BadProfile."""
    try:
        mojo.read(HEAD + MODE + STACK + NAMES + body)
    except BadProfile:
        return


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"MOO", "does not start with MOJ"),
        (b"MOJ" + number(4), "version 4; diag reads version 3"),
        (HEAD, "'mode' is missing"),
        (HEAD + STACK + METRICS, "'mode' is missing"),
        (HEAD + MODE + STACK + b"\x05" + number(5), "not sent before: 5"),
        (HEAD + MODE + STACK + b"\x0d", "unknown number 13"),
        (HEAD + b"\x02" + b"\xff" * 20, "too long"),
        (HEAD + MODE + b"\x02" + number(1) + number(0) + text("xyz"), "no valid MOJO file"),
    ],
)
def test_a_damaged_file_says_where(content: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        mojo.read(content)
