"""What a Go program said as it died: whole, cut, and between other lines."""

from __future__ import annotations

import pytest

from diag.collectors import go_death

PANIC = """2024/01/01 12:00:00 serving
panic: first [recovered]
\tpanic: again: first
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48bec0]

goroutine 7 [running]:
panic({0x494560, 0x4c5440})
\t/usr/lib/go-1.19/src/runtime/panic.go:884 +0x212
main.(*Shop).price(0x0?, {0xc000, 0x2})
\t/srv/shop/main.go:19 +0x4
created by main.main in goroutine 1
\t/srv/shop/main.go:48 +0x437

goroutine 1 [chan receive, 5 minutes]:
main.main()
\t/srv/shop/main.go:52 +0x445
"""


def test_a_panic_is_an_exception_with_all_goroutines() -> None:
    """The last panic, what it came from, the signal, and the goroutines, the one that died first."""
    death = go_death.read(PANIC)

    assert death is not None and death.exception is not None and death.missing == ()
    assert (death.exception.type, death.exception.message) == ("panic", "again: first")
    assert death.exception.context is not None and death.exception.context.message == "first"
    assert death.exception.notes == ("SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48bec0",)
    assert [(t.thread_id, t.crashed, t.state) for t in death.threads] == [
        (7, True, "running"),
        (1, False, "chan receive"),
    ]
    assert [(f.function, f.line) for f in death.exception.frames] == [
        ("panic", 884),
        ("main.(*Shop).price", 19),
        ("created by main.main", 48),
    ]


def test_lines_of_others_do_not_disturb() -> None:
    """Log lines between the lines of a trace, also between a call and its place, are passed over."""
    lines = PANIC.splitlines()
    mixed = "\n".join(line + "\n2024/01/01 12:00:01 [info] request (7) done" for line in lines)

    death, whole = go_death.read(mixed), go_death.read(PANIC)

    assert death is not None and whole is not None
    assert [thread.frames for thread in death.threads] == [thread.frames for thread in whole.threads]


@pytest.mark.parametrize("size", range(30, len(PANIC), 17))
def test_a_trace_cut_behind_is_partial(size: int) -> None:
    """Wherever a trace ends, what is there is read, and nothing fails."""
    death = go_death.read(PANIC[:size])

    if "panic: " in PANIC[:size]:
        assert death is not None and death.exception is not None
        assert death.threads or any("before its first goroutine" in gap.reason for gap in death.missing)


def test_a_trace_without_its_beginning_says_so() -> None:
    """Where only goroutines are left nobody is named as the one that died, and it says what is not there."""
    death = go_death.read(PANIC[PANIC.index("goroutine 7") :])

    assert death is not None and death.exception is None
    assert [thread.crashed for thread in death.threads] == [False, False]
    assert "was not kept" in death.missing[0].reason


def test_a_trace_without_its_middle_says_so() -> None:
    """Where the tail was too short for all goroutines the panic is known, and how much is not there."""
    cut = PANIC.replace("main.(*Shop).price(0x0?", "\n[diag: 4711 bytes of stderr were not kept]\n0x0?")

    death = go_death.read(cut)

    assert death is not None and death.exception is not None
    assert [thread.thread_id for thread in death.threads] == [7, 1]
    assert "4711 bytes" in death.missing[0].reason


@pytest.mark.parametrize("text", [None, "", "exit status 2\n", "no panic here\n", "goroutine 7\n"])
def test_other_last_words_are_no_death_of_go(text: str | None) -> None:
    """What has neither a beginning nor a goroutine is no trace."""
    assert go_death.read(text) is None


def test_a_fatal_error_has_its_limit() -> None:
    """A stack overflow is a fatal error, whose limit stands above it."""
    text = "runtime: goroutine stack exceeds 1000000000-byte limit\nruntime: sp=0xc0\nfatal error: stack overflow\n\n"
    text += "runtime stack:\nruntime.throw({0x4a?})\n\t/usr/lib/go/src/runtime/panic.go:1047 +0x5d\n\n"
    text += (
        "goroutine 1 [running]:\nmain.f(0x0?)\n\t/srv/a.go:21 +0x33 fp=0xc0 sp=0xc0 pc=0x48\n...99 frames elided...\n"
    )

    death = go_death.read(text)

    assert death is not None and death.exception is not None
    assert (death.exception.type, death.exception.message) == ("fatal error", "stack overflow")
    assert death.exception.notes == ("runtime: goroutine stack exceeds 1000000000-byte limit",)
    assert [(frame.function, frame.line) for frame in death.threads[0].frames] == [("main.f", 21)]
