"""What is kept from stderr of a Go program, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.agent.go_trace import GoTrace, is_go_file
from diag.agent.guard import HEAD_SIZE, TAIL_SIZE, StderrTail

FIRST = b"""panic: worker 3
failed

goroutine 7 [running]:
main.main.func2()
\t/srv/shop/main.go:50 +0xa5
created by main.main
\t/srv/shop/main.go:48 +0x437
"""
OTHERS = b"""
goroutine 1 [runnable, locked to thread]:
sync.(*WaitGroup).Wait(0x7f5b41df0108?)
\t/usr/lib/go/src/sync/waitgroup.go:139 +0x52
main.main()
\t/srv/shop/main.go:52 +0x445
...additional frames elided...

goroutine 6 [chan receive]:
main.main.func1()
\t/srv/shop/main.go:33 +0x39
created by main.main in goroutine 1
\t/srv/shop/main.go:31 +0xb8
"""
BEFORE = b"2024/01/01 panic: none\nloading (1)\n"


def shown(content: bytes, size: int, *, hush: bool = True) -> bytes:
    """What is passed on of content that comes in pieces of this size."""
    trace = GoTrace(hush=hush)
    return b"".join(trace.shown(content[at : at + size]) for at in range(0, len(content), size)) + trace.rest()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 61, 4096])
def test_goroutines_that_go_would_not_have_printed_are_not_shown(size: int) -> None:
    """However it is cut into pieces, of a panic what is shown is what GOTRACEBACK=single would have printed."""
    assert shown(BEFORE + FIRST + OTHERS, size) == BEFORE + FIRST
    assert shown(BEFORE + FIRST + OTHERS, size, hush=False) == BEFORE + FIRST + OTHERS


@pytest.mark.parametrize("size", [1, 5, 4096])
@pytest.mark.parametrize(
    "content",
    [
        b"fatal error: all goroutines are asleep - deadlock!\n" + FIRST[FIRST.index(b"\n\n") + 1 :] + OTHERS,
        b"http: panic serving 127.0.0.1:1: no\ngoroutine 5 [running]:\nmain.f()\n\t/a.go:1 +0x1\n" + OTHERS,
        FIRST + b"\nnext line of a program that goes on\ngoroutine of a log\n",
        FIRST + b"\n",
        FIRST,
        b"panic: told by a log\nand no trace\n\ngoroutines are fine\n",
        b"no newline at the end: panic: ",
        b"\n\n\r\n\xff\0",
    ],
)
def test_everything_else_is_shown_as_it_is(content: bytes, size: int) -> None:
    """Fatal errors, recovered panics in a log, and whatever else a program writes pass unchanged."""
    assert shown(content, size) == content


def test_a_line_of_somebody_else_in_the_trace_is_shown() -> None:
    """A log line between two goroutines that are not shown still is."""
    log = b"2024/01/01 12:00:00 a child of it speaks\n"
    middle = OTHERS.index(b"\ngoroutine 6")

    assert shown(FIRST + OTHERS[:middle] + log + OTHERS[middle:], 16) == FIRST + log


def test_nothing_is_held_back_before_a_trace() -> None:
    """A prompt without a newline is passed on at once, also where it begins like a trace."""
    trace = GoTrace(hush=True)

    assert [trace.shown(piece) for piece in (b"pan", b"ic", b": ", b"name? ")] == [b"pan", b"ic", b": ", b"name? "]


@pytest.mark.parametrize("size", [3, 100, 4096])
def test_the_head_of_a_long_trace_is_kept(size: int) -> None:
    """Of a trace that is longer than the tail both ends are kept, and how much is not stands between them."""
    tail, trace = StderrTail(), GoTrace(hush=True)
    content = BEFORE * 100 + FIRST + OTHERS * 600
    for at in range(0, len(content), size):
        trace.shown(content[at : at + size])
        tail.append(content[at : at + size], trace.started)

    text = tail.text()

    kept = len(FIRST + OTHERS * 600)
    head, _, rest = text.partition("\n[diag: ")
    assert head.encode() == (FIRST + OTHERS * 600)[:HEAD_SIZE]
    left_out, _, end = rest.partition(" bytes of stderr were not kept]\n")
    assert content.endswith(end.encode()) and TAIL_SIZE - 200 < len(end) <= TAIL_SIZE
    assert int(left_out) == kept - HEAD_SIZE - len(end)


def test_a_trace_in_the_tail_is_there_once() -> None:
    """A trace that fits the tail, or overlaps it, is not written twice."""
    for before in (0, 30_000, TAIL_SIZE - 2000, TAIL_SIZE + 1):
        tail, trace = StderrTail(), GoTrace(hush=True)
        content = b"x\n" * (before // 2) + FIRST + OTHERS * 150
        for at in range(0, len(content), 4096):
            trace.shown(content[at : at + 4096])
            tail.append(content[at : at + 4096], trace.started)
        assert tail.text().count("panic: worker 3") == 1
        assert tail.text().count("goroutine 1 ") == 150


def test_go_programs_are_told_from_others(tmp_path: Path) -> None:
    """A file that is not there, a folder, and a text with Go's note are no Go programs."""
    text = tmp_path / "text"
    text.write_bytes(b"\x04\0\0\0Go\0\0")

    assert not any(map(is_go_file, (None, "/none", str(tmp_path), str(text), "/bin/sh")))
