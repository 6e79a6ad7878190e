"""The report in a terminal: the answer first, readable at any width, and harmless whatever its strings hold."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from unit.report.factory import (
    LINK,
    PID,
    WAITING,
    crashed,
    ended,
    evidence,
    made,
    native,
    python_frame,
    raised,
    request,
    stack,
    witness,
)

from diag.evidence import Evidence, ExceptionSeen, Frame, Thread
from diag.model import Instance
from diag.report.render import render
from diag.report.visible import visible

ANSI = re.compile(r"\x1b\[[0-9;]*m")
REGISTERS = {"rip": 0x1000, "rsp": 0x7FFC00000000, "rax": 0}
CASES = {
    "live": evidence(),
    "nothing known": evidence(process=None, witness=None, threads=(), stderr_tail=None),
    "exception": raised(
        cause=ExceptionSeen("OSError", "builtins", "[Errno 98] Address already in use", stack("bind")),
        exceptions=(ExceptionSeen("ValueError", None, "x"),),
    ),
    "segfault": crashed(11, address=0, trapno=14, registers=REGISTERS, links=(LINK,)),
    "killed": ended(signal=9),
    "long names": crashed(11, (native("f" * 300), python_frame("g" * 300, 1, "/srv/shop/" + "d" * 200 + ".py"))),
    "children": evidence(children=(evidence(), ended(signal=9))),
}


def shown(seen: Evidence, *, width: int = 80, color: bool = False, all_threads: bool = False) -> str:
    """The rendered report."""
    return render(made(seen), color=color, width=width, all_threads=all_threads)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("case", CASES)
def test_no_line_is_wider_than_the_terminal(case: str, width: int) -> None:
    """Every line fits, in colour and without, and nothing trails behind it."""
    plain = shown(CASES[case], width=width)
    assert max(map(len, plain.splitlines())) <= width
    assert not any(line != line.rstrip() for line in plain.splitlines())
    assert "\x1b" not in plain
    colored = ANSI.sub("", shown(CASES[case], width=width, color=True))
    assert [line.rstrip() for line in colored.splitlines()] == plain.splitlines()


def test_the_answer_comes_first() -> None:
    """Title, then verdict with its confidence, then who and which request, before any stack."""
    text = shown(CASES["segfault"])
    order = [
        "SIGSEGV in crash_view (app.py:20)",
        "NULL pointer dereference",
        "Confidence high",
        "instance",
        "4bf9",
        "THREAD 4711",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_application_frames_stand_out_without_colour() -> None:
    """A mark, not colour alone, tells the application's frames; paths are short."""
    lines = shown(raised()).splitlines()
    assert any(re.fullmatch(r"  ▸  view +app\.py:20", line) for line in lines)
    assert any(re.fullmatch(r"     wsgi_app +flask/app\.py:2200", line) for line in lines)


def test_other_threads_are_one_line_each() -> None:
    """Threads that did not crash fold to a line; `--all` shows their frames, and every one of them."""
    many = tuple(Thread(PID + n, f"worker-{n}", state="idle", frames=(WAITING, *stack("serve"))) for n in range(1, 30))
    seen = replace(CASES["segfault"], threads=(*CASES["segfault"].threads[:1], *many))
    folded, unfolded = shown(seen), shown(seen, all_threads=True)
    assert "worker-1 · idle · serve (app.py:20)" in folded
    assert "worker-29" not in folded
    assert "17 more with --all" in folded
    assert unfolded.count("serve  ") == 29


def test_the_chain_of_an_exception_is_shown() -> None:
    """An exception, what it was raised from, and the members of a group."""
    text = shown(CASES["exception"])
    chain = text[text.index("EXCEPTION") :]
    assert chain.index("KeyError: 'sku'") < chain.index("caused by") < chain.index("OSError: [Errno 98]")
    assert "├ ValueError: x" in text


def test_what_the_exception_says_is_not_said_twice() -> None:
    """The thread that raised has no section of its own where its frames are the exception's."""
    seen = raised(threads=(Thread(PID, crashed=True, frames=stack()), Thread(PID + 1, frames=(WAITING,))))
    text = shown(seen)
    assert "THREAD 4711" not in text
    assert "1 OTHER THREAD" in text
    assert text.count("▸  view") == 1


def test_signal_and_registers() -> None:
    """A fault shows its trap, address and registers."""
    text = shown(CASES["segfault"])
    assert "SIGSEGV (11) · trap 14, page fault · at address 0x0000000000000000" in text
    assert "rip    0x0000000000001000" in text


def test_what_is_missing_and_redacted_is_said() -> None:
    """Gaps with their reasons, and what was removed by which rule."""
    text = shown(evidence())
    assert "nativeStack: no native frame was read" in text
    assert "sharedObjects, modules: the memory map could not be read" in text
    assert re.search(r"environment ×\d", text)


def test_locals_stand_below_their_frame() -> None:
    """A frame's local variables follow it."""
    frames = (python_frame("view", locals={"sku": "'a-1'"}),)
    assert re.search(r"▸  view .*\n +sku +'a-1'\n", shown(raised(frames=frames)))


def test_the_workers_of_a_live_instance_are_listed() -> None:
    """Each other process has a line with its requests, which count in the verdict, too."""
    busy = witness(in_flight=(request("/slow"),))
    idle = witness(in_flight=())
    text = shown(evidence(witness=idle, children=(evidence(witness=busy), evidence(witness=idle))))
    assert "It is alive, with 1 request in flight, GET /slow (request 7f3a) for 3.2 s." in " ".join(text.split())
    assert re.search(r"OTHER PROCESSES\n  4711 +1 request in flight", text)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.exe\u2066\x00\ttab"


def test_hostile_names_never_reach_the_terminal() -> None:
    """Escapes, control characters and direction marks in any string are shown, not obeyed."""
    frame = Frame(HOSTILE, HOSTILE, 1, HOSTILE, locals={HOSTILE: HOSTILE})
    seen = raised(
        HOSTILE, HOSTILE, (frame,), cause=ExceptionSeen(HOSTILE, HOSTILE, HOSTILE), stderr_tail=HOSTILE,
        threads=(Thread(PID, HOSTILE, frames=(frame, native(HOSTILE, HOSTILE))),),
        witness=witness(in_flight=(request(HOSTILE, request_id=HOSTILE, trace_id=HOSTILE),)),
    )  # fmt: skip
    seen = replace(
        seen, instance=Instance(HOSTILE, HOSTILE, HOSTILE, HOSTILE, PID, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    )
    for color in (True, False):
        text = ANSI.sub("", shown(seen, color=color, all_threads=True))
        assert not set(text) & set("\x1b\x07\r\x9b\u202e\u2066\x00\t")
        assert "\\x1b]0;owned\\x07" in text


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("plain", "plain"),
        ("naïve 日本", "naïve 日本"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("\u202ex", "\\u202ex"),
    ],
)
def test_visible(raw: str, safe: str) -> None:
    """Letters of any script stay, what a terminal obeys becomes an escape."""
    assert visible(raw) == safe
