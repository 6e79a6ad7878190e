"""faulthandler's text, as CPython 3.8 to 3.13 write it."""

from __future__ import annotations

from diag.collectors.faulthandler_text import parse_faulthandler
from diag.evidence import Frame

TEXT = """Fatal Python error: Segmentation fault

Current thread 0x00007fb37509bb80 (most recent call first):
  Garbage-collecting
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/a "quoted" name.py", line 10 in crash
  File "/srv/app.py", line ??? in <module>
  ...

Thread 0x00007fdc39de92c0 [napper] (most recent call first):
  <no Python frame>

Thread 0x00007fdc39de92c1 (most recent call first):
  File "/srv/app.py", line 3 in nap

Extension modules: numpy.core._multiarray_umath, yaml._yaml (total: 2)
  File "/not/a/frame.py", line 1 in nothing
"""


def test_threads_and_frames_are_read() -> None:
    """All threads, the crashed one marked, frames innermost first, names with quotes whole."""
    name, threads = parse_faulthandler(TEXT)

    assert name == "Segmentation fault"
    assert [(thread.thread_id, thread.name, thread.crashed) for thread in threads] == [
        (0x7FB37509BB80, None, True),
        (0x7FDC39DE92C0, "napper", False),
        (0x7FDC39DE92C1, None, False),
    ]
    assert threads[0].frames == (
        Frame("Garbage-collecting", language="native"),
        Frame("string_at", "/usr/lib/python3.11/ctypes/__init__.py", 519),
        Frame("crash", '/srv/a "quoted" name.py', 10),
        Frame("<module>", "/srv/app.py", None),
    )
    assert threads[1].frames == ()
    assert [frame.function for frame in threads[2].frames] == ["nap"]


def test_text_cut_short_gives_what_is_there() -> None:
    """The process can be gone in the middle of a line."""
    for end in range(len(TEXT)):
        name, threads = parse_faulthandler(TEXT[:end])
        assert len(threads) <= 3
        assert name is None or "Segmentation fault".startswith(name)


def test_single_stack_is_the_crashed_one() -> None:
    """With all_threads=False there is one stack without a number."""
    _, threads = parse_faulthandler(
        'Fatal Python error: Aborted\n\nStack (most recent call first):\n  File "a.py", line 1 in f\n'
    )

    assert [(thread.crashed, thread.frames[0].function) for thread in threads] == [(True, "f")]


def test_no_text_is_no_error() -> None:
    """Anything else gives nothing."""
    assert parse_faulthandler("") == (None, ())
    assert parse_faulthandler("hello\x00\n" * 3) == (None, ())


def test_frames_whose_first_words_are_lost_are_kept() -> None:
    """A write that waited for half a second gave its word up, and the next one waits as long."""
    words = ["  File ", '"', "/srv/app.py", '"', ", line ", "4", " in ", "price"]
    head = "Fatal Python error: Aborted\n\nCurrent thread 0x00007fc92900db80 (most recent call first):\n"
    for lost in range(4):
        _, threads = parse_faulthandler(head + "".join(words[lost:]) + "\n")

        assert [(frame.function, frame.line) for frame in threads[0].frames] == [("price", 4)]
        assert threads[0].frames[0].file == (None if lost == 3 else "/srv/app.py")
