"""Verdicts: each rule on evidence that proves it, and on evidence that only looks like it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from unit.report.factory import (
    MOMENT,
    PID,
    PYTHON,
    WAITING,
    crashed,
    ended,
    evidence,
    made,
    maps_of_this_process,
    native,
    process,
    python_frame,
    raised,
    request,
    stack,
    witness,
)

from diag.evidence import Ended, Evidence, ExceptionSeen, LastLook, Mapped, ProcessFacts, Thread
from diag.model import Link
from diag.report.causes import faults
from diag.report.ending import is_division, needs_alignment

SEGV, BUS, FPE, ILL, ABRT = 11, 7, 8, 4, 6
IDLE = witness(in_flight=(), finished=())


def verdict(seen: Evidence) -> dict[str, Any]:
    """The report's verdict."""
    return made(seen)["verdict"]


def judged(seen: Evidence) -> tuple[str, str]:
    """Cause and confidence."""
    found = verdict(seen)
    return found["cause"], found["confidence"]


def test_a_null_dereference_names_function_line_and_request() -> None:
    """The sentence says what happened, in which function, called from where, while serving what."""
    found = verdict(crashed(SEGV, address=8, trapno=14))
    assert found["sentence"] == (
        "NULL pointer dereference in __strlen_avx2 (libc.so.6), called from crash_view (app.py:20) "
        "while serving GET /checkout (request 7f3a)."
    )
    assert (found["cause"], found["confidence"]) == ("null-dereference", "high")


def test_the_applications_own_native_code_is_called_from_its_python() -> None:
    """Where the fault is in native code of the application, the Python line that called it is named, too."""
    frames = (native("divide", "/srv/shop/libmath.so"), *stack("total"))
    found = verdict(crashed(SEGV, frames, address=0, trapno=14, witness=IDLE))
    assert found["sentence"] == "NULL pointer dereference in divide (libmath.so), called from total (app.py:20)."


def test_a_call_through_null_is_told_apart() -> None:
    """Where the instruction pointer itself is the fault address, a function pointer was NULL."""
    found = verdict(crashed(SEGV, stack("crash_view"), address=0, trapno=14, registers={"rip": 0}, witness=IDLE))
    assert (found["cause"], found["confidence"]) == ("null-call", "high")
    assert found["sentence"] == "Call of a NULL function pointer in crash_view (app.py:20)."


MAPS = (
    Mapped(0x400000, 0x401000, "r-xp", 0, 1, "/bin/x"),
    Mapped(0x7FFC0000, 0x7FFD0000, "rw-p", 0, 0, "[stack]"),
    Mapped(0x600000, 0x700000, "rw-s", 0, 9, "/data/table"),
)


@pytest.mark.parametrize(
    ("address", "stack_pointer", "expected"),
    [
        (0xDEADBEEF000, 0x7FFC8000, ("wild-pointer", "high")),
        (0x400010, 0x7FFC8000, ("wild-pointer", "high")),
        (0x7FFBFFF8, 0x7FFC0010, ("stack-overflow", "medium")),
        (0x7FFC0100, 0x7FFC0110, ("wild-pointer", "high")),
        (0xFFFF, 0x10, ("null-dereference", "high")),
    ],
)
def test_page_faults_by_address(address: int, stack_pointer: int, expected: tuple[str, str]) -> None:
    """What is mapped at the fault address, and where the stack pointer stands, tell the kind of fault."""
    registers = {"rip": 0x400500, "rsp": stack_pointer}
    assert (
        judged(crashed(SEGV, address=address, trapno=14, registers=registers, process=process(maps=MAPS))) == expected
    )


def test_a_protection_fault_has_no_address() -> None:
    """A general protection fault leaves a stale cr2, which is not shown."""
    report = made(crashed(SEGV, address=0, trapno=13))
    assert report["signal"]["faultAddress"] is None
    assert report["verdict"]["cause"] == "wild-pointer"


ALIGNED = [
    "0f28442401",  # movaps 0x1(%rsp),%xmm0
    "440f294801",  # movaps %xmm9,0x1(%rax)
    "660f7f4701",  # movdqa %xmm0,0x1(%rdi)
    "66440f6f07",  # movdqa (%rdi),%xmm8
    "c5f8294001",  # vmovaps %xmm0,0x1(%rax)
    "c5fd6f07",  # vmovdqa (%rdi),%ymm0
    "c4c17d7f00",  # vmovdqa %ymm0,(%r8)
]
UNALIGNED = [
    "",
    "0f104424",  # movups
    "f30f6f07",  # movdqu (%rdi),%xmm0
    "c5fe6f07",  # vmovdqu (%rdi),%ymm0
    "0f6f07",  # movq (%rdi),%mm0
    "488b07",  # mov (%rdi),%rax
    "c5",
    "c4e2",
    "6640c4e1",  # two prefixes before what is cut off
]


@pytest.mark.parametrize(
    ("code", "expected"), [*((code, True) for code in ALIGNED), *((code, False) for code in UNALIGNED)]
)
def test_moves_that_need_alignment_are_known(code: str, expected: bool) -> None:
    """By prefix and opcode, in all encodings."""
    assert needs_alignment(bytes.fromhex(code)) is expected


@pytest.mark.parametrize(
    ("code", "rdi", "expected"),
    [
        (ALIGNED[0], 0x7FFF_FFF0_0001, ("misaligned", "medium")),
        (ALIGNED[0], 0xDEAD_0000_0000_0000, ("wild-pointer", "medium")),
        ("488b07", 0x7FFF_FFF0_0001, ("wild-pointer", "medium")),
        ("f4c3", 0, ("illegal-instruction", "high")),
    ],
)
def test_the_instruction_tells_why_the_processor_protected(code: str, rdi: int, expected: tuple[str, str]) -> None:
    """A general protection fault is a wild pointer, unless the instruction asks for more than memory."""
    report = made(crashed(SEGV, trapno=13, registers={"rip": 0x400500, "rsp": 0x7FFF_0000, "rdi": rdi}))
    report["signal"]["instruction"] = code

    found = faults.judge(report)

    assert (found["cause"], found["confidence"]) == expected


@pytest.mark.parametrize("number", [SEGV, BUS, ILL])
def test_a_sent_signal_is_no_fault(number: int) -> None:
    """With trap 0 the signal came from a program, and nothing is said of memory."""
    report = made(crashed(number, trapno=0, address=0))
    assert (report["verdict"]["cause"], report["verdict"]["confidence"]) == ("sent-signal", "high")
    assert report["signal"]["sent"] is True
    assert "did not fault" in report["verdict"]["sentence"]
    assert "NULL" not in report["verdict"]["sentence"]


def test_a_signal_to_itself_is_said_so() -> None:
    """raise() or kill() on the stack: it sent the signal itself."""
    assert verdict(crashed(SEGV, (native("raise"), *stack())))["sentence"].startswith("It sent itself SIGSEGV")


def test_without_the_signal_frame_nothing_is_claimed() -> None:
    """Trap unknown: fault or sent cannot be told, so confidence is low and no cause is named."""
    report = made(crashed(SEGV, trapno=None))
    assert (report["verdict"]["cause"], report["verdict"]["confidence"]) == ("signal", "low")
    assert report["signal"]["sent"] is None


def code_of(instruction: bytes) -> tuple[Evidence, int]:
    """Evidence of a SIGFPE at an instruction with these bytes, in a file that is mapped here."""
    path = next(
        m for m in maps_of_this_process() if "libpython" in m.path or m.path == PYTHON or "libc.so" in m.path
    ).path
    with open(path, "rb") as file:  # noqa: PTH123 - a library
        content = file.read()
    at = content.index(instruction)
    maps = (Mapped(0x10000000, 0x10000000 + len(content), "r-xp", 0, 1, path),)
    rip = 0x10000000 + at
    return crashed(FPE, registers={"rip": rip}, process=process(maps=maps)), rip


def test_a_division_is_proved_by_its_instruction() -> None:
    """SIGFPE with trap 0 is a division error where the instruction is IDIV, and was sent where it is not."""
    divided, _ = code_of(b"\xf7\xf9")  # idiv ecx
    assert judged(divided) == ("divide-error", "high")
    sent, _ = code_of(b"\x0f\x05")  # syscall
    assert judged(sent) == ("sent-signal", "medium")


def test_a_division_that_cannot_be_proved_is_doubted() -> None:
    """Without the instruction, trap 0 means a division error or a sent SIGFPE: low confidence, both named."""
    report = made(crashed(FPE))
    assert (report["verdict"]["cause"], report["verdict"]["confidence"]) == ("divide-error", "low")
    assert "or a SIGFPE sent with kill" in report["verdict"]["sentence"]
    assert report["signal"]["sent"] is None
    assert judged(crashed(FPE, trapno=19)) == ("floating-point", "high")


@pytest.mark.parametrize(
    ("code", "is_one"),
    [*dict.fromkeys(("f7f9", "48f7f9", "f6f1", "6641f7f8"), True).items(),
     *dict.fromkeys(("f7d9", "0f05", "", "f7"), False).items()],
)  # fmt: skip
def test_divisions_are_recognised(code: str, is_one: bool) -> None:
    """DIV and IDIV with their prefixes, and not NEG or NOT, which share the opcode."""
    assert is_division(bytes.fromhex(code)) is is_one


def test_illegal_instructions() -> None:
    """Trap 6 is an invalid opcode."""
    assert judged(crashed(ILL, trapno=6)) == ("illegal-instruction", "high")


def test_a_truncated_file_is_suspected_not_claimed() -> None:
    """A bus error inside a file's mapping is most likely a truncation, which is asked, not stated."""
    found = verdict(crashed(BUS, address=0x600100, trapno=14, process=process(maps=MAPS)))
    assert (found["cause"], found["confidence"]) == ("mapped-file-truncated", "medium")


ABORT = (native("__pthread_kill_implementation"), native("raise"), native("abort"))


DOUBLE_FREE = "free(): double free detected in tcache 2\n"
CORRUPTION = "double free or corruption (out)\n"
TERMINATE = "terminate called after throwing an instance of 'int'\n"
NO_EXCEPTION = "terminate called without an active exception\n"
PURE = "pure virtual method called\n" + NO_EXCEPTION
OVERFLOW = "*** buffer overflow detected ***: terminated\n"
PANICKED = "thread '<unnamed>' panicked at src/lib.rs:1:5:\nno more\n"
ASSERTION = "x: x.c:3: f: Assertion `n > 0' failed.\n"


@pytest.mark.parametrize(
    ("frames", "stderr", "expected"),
    [
        ((*ABORT, native("boom", "/lib/b.so")), "", ("abort", "high")),
        ((*ABORT, native("_int_free"), native("free")), DOUBLE_FREE, ("heap-corruption", "high")),
        ((*ABORT, native("libc.so.6+0x7f4"), native("free")), "", ("heap-corruption", "medium")),
        ((*ABORT, native("_int_free"), native("free")), "", ("heap-corruption", "medium")),
        ((*ABORT, native("f")), CORRUPTION, ("heap-corruption", "medium")),
        ((*ABORT, native("std::terminate()"), native("f")), TERMINATE, ("cpp-exception", "high")),
        ((*ABORT, native("std::terminate()"), native("f")), NO_EXCEPTION, ("abort", "high")),
        ((*ABORT, native("std::terminate()"), native("__cxa_pure_virtual")), PURE, ("abort", "high")),
        ((*ABORT, native("__fortify_fail"), native("__strcpy_chk")), OVERFLOW, ("abort", "high")),
        ((*ABORT, native("std::panicking::rust_panic"), native("f")), PANICKED, ("panic", "high")),
        ((*ABORT, native("__assert_fail"), native("f")), ASSERTION, ("assertion", "high")),
        ((native("libc.so.6+0x8a0"), native("x")), "", ("sent-signal", "medium")),
        ((native("libc.so.6+0x8a0"),), "", ("abort", "low")),
        ((), "", ("abort", "low")),
        ((native("epoll_wait"),), CORRUPTION, ("sent-signal", "medium")),
    ],
)
def test_aborts(frames: tuple[Any, ...], stderr: str, expected: tuple[str, str]) -> None:
    """abort() is seen on the stack; why, is on stderr, believed where the stack agrees."""
    assert judged(crashed(ABRT, (*frames, *stack()), stderr_tail=stderr)) == expected


def test_gunicorns_time_out_is_recognised() -> None:
    """A SIGABRT that was sent to a gunicorn worker comes with the likely sender in the evidence."""
    found = verdict(crashed(ABRT, (native("clock_nanosleep"), *stack())))
    assert "gunicorn" in " ".join(found["evidence"])


def test_terminate_without_an_exception_blames_none() -> None:
    """A pure virtual call, or a thread that nobody joined, ends by std::terminate, too, without an exception."""
    found = verdict(crashed(ABRT, (*ABORT, *stack()), stderr_tail=PURE))
    assert "a pure virtual function was called" in found["sentence"]
    assert "exception was not caught" not in found["sentence"]


def test_a_fault_after_an_exception_tells_of_both() -> None:
    """A library that crashes in an exit handler, after the exception that ended the program."""
    fault = crashed(SEGV, address=0, trapno=14, exception=raised().exception)
    found = verdict(fault)
    assert found["cause"] == "null-dereference"
    assert found["evidence"][-1] == (
        "Before that an exception had ended the main thread: KeyError: 'sku' in view (app.py:20)."
    )


def test_what_came_after_the_exception_is_told() -> None:
    """Other threads, or exit handlers, went on, until something else ended the process."""
    assert verdict(raised(ended=Ended(1)))["sentence"].endswith("(request 7f3a).")
    killed = verdict(raised(ended=Ended(signal=9)))
    assert (killed["cause"], killed["sentence"][-37:]) == ("exception", "; it was ended by SIGKILL after that.")
    assert verdict(raised(ended=Ended(5)))["sentence"].endswith("; it left with exit status 5 after that.")


def test_a_group_names_what_its_groups_hold() -> None:
    """Whatever the depth, the evidence has the exceptions themselves and their places."""
    leaf = ExceptionSeen("ValueError", "builtins", "no", stack("work", 7))
    inner = ExceptionSeen("ExceptionGroup", "builtins", "in (1 sub-exception)", (), exceptions=(leaf,))
    found = verdict(raised("ExceptionGroup", "out (1 sub-exception)", exceptions=(inner,)))
    assert found["evidence"] == ["The group holds ValueError: no in work (app.py:7)."]


def test_the_worker_of_a_pool_tells_where_it_raised() -> None:
    """The exception that comes back from a pool has the frames of who asked; the worker's own stand in a text."""
    text = '\n"""\nTraceback (most recent call last):\n  File "/srv/pool.py", line 5, in run\n    f()\n'
    text += '  File "/srv/app.py", line 2, in price\n    raise ValueError\nValueError: no\n"""'
    cause = ExceptionSeen("RemoteTraceback", "multiprocessing.pool", text)
    assert verdict(raised("ValueError", "no", cause=cause))["evidence"] == [
        "The pool's worker raised it in price (app.py:2)."
    ]


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("SyntaxError", "invalid syntax (app.py, line 3)", ("syntax-error", "a source file does not parse")),
        ("TabError", "inconsistent use (app.py, line 3)", ("syntax-error", "a source file does not parse")),
        ("SyntaxError", "invalid syntax (<string>, line 1)", ("syntax-error", "code that it was given does not parse")),
    ],
)
def test_what_does_not_parse(kind: str, message: str, expected: tuple[str, str]) -> None:
    """A source file, or a text that the program compiles."""
    found = verdict(raised(kind, message))
    assert found["cause"] == expected[0]
    assert found["sentence"].endswith(f": {expected[1]}.")


@pytest.mark.parametrize(("status", "said"), [(137, True), (192, True), (193, False), (255, False)])
def test_a_status_is_that_of_a_signal_where_there_is_such_a_signal(status: int, said: bool) -> None:
    """By the shell's convention 137 is SIGKILL; 255 is -1."""
    assert any("convention" in told for told in verdict(ended(status))["evidence"]) is said


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("thread 'main' panicked at a.rs:1:5:\nno more\nnote: run with `RUST_BACKTRACE=1`\n", "panicked at a.rs:1:5:"),
        ("panic: no\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:6 +0x335\n", "panic: no"),
        ("==7==ERROR: AddressSanitizer: heap-use-after-free on\n==7==ABORTING\n", "heap-use-after-free on"),
        ("one\ntwo\n", "two"),
    ],
)
def test_the_telling_line_of_stderr_is_shown(stderr: str, said: str) -> None:
    """Runtimes that say why they end, and then much more."""
    assert verdict(ended(2, stderr_tail=stderr))["evidence"][-1].endswith(said)


def test_an_exception_says_where_and_for_whom() -> None:
    """Type, message, innermost application frame, request."""
    library = python_frame("loads", 346, "/usr/lib/python3.11/json/__init__.py")
    found = verdict(raised(frames=(library, *stack())))
    assert found["sentence"] == "KeyError: 'sku' in view (app.py:20) while serving GET /checkout (request 7f3a)."
    assert (found["cause"], found["confidence"]) == ("exception", "high")


@pytest.mark.parametrize(
    ("kind", "message", "cause"),
    [
        ("ModuleNotFoundError", "No module named 'flask'", "missing-module"),
        ("OSError", "[Errno 98] Address already in use", "port-in-use"),
        ("OSError", "[Errno 28] No space left on device: '/x'", "disk-full"),
        ("OSError", "[Errno 24] Too many open files", "too-many-files"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'settings.ini'", "missing-file"),
        ("PermissionError", "[Errno 13] Permission denied: '/etc/shadow'", "no-permission"),
        ("ConnectionRefusedError", "[Errno 111] Connection refused", "connection-refused"),
        ("BrokenPipeError", "[Errno 32] Broken pipe", "broken-pipe"),
        ("ImportError", "libpq.so.5: cannot open shared object file: No such file or directory", "missing-library"),
        ("ImportError", "cannot import name 'x' from 'y'", "exception"),
        ("gaierror", "[Errno -2] Name or service not known", "unknown-host"),
        ("OSError", "[Errno 27] File too large", "file-too-large"),
        ("RuntimeError", "can't start new thread", "too-many-processes"),
        ("BlockingIOError", "[Errno 11] Resource temporarily unavailable", "exception"),
        ("OSError", "[Errno 5] Input/output error", "exception"),
        ("ValueError", "what is [Errno 98]?", "exception"),
        ("MemoryError", "", "no-memory"),
        ("RecursionError", "maximum recursion depth exceeded", "recursion"),
        ("KeyboardInterrupt", "", "stopped"),
    ],
)
def test_well_known_exceptions(kind: str, message: str, cause: str) -> None:
    """Exceptions with one meaning have a cause of their own."""
    assert judged(raised(kind, message)) == (cause, "high")


def test_a_process_that_cannot_be_started_is_told_from_a_socket_that_would_block() -> None:
    """EAGAIN says many things; raised where subprocess starts a process it says that no more may be started."""
    starting = python_frame("_execute_child", 1955, "/usr/lib/python3.11/subprocess.py")
    seen = raised("BlockingIOError", "[Errno 11] Resource temporarily unavailable", (starting, *stack()))
    assert judged(seen) == ("too-many-processes", "high")


def test_an_exceptions_own_class_is_not_the_builtin() -> None:
    """A class of the application that is called MemoryError is nothing but an exception."""
    assert judged(raised("MemoryError", module="shop.errors"))[0] == "exception"


def test_the_cause_of_an_exception_counts() -> None:
    """What an exception was raised from gives its cause; what merely was being handled does not."""
    error = ExceptionSeen("OSError", "builtins", "[Errno 28] No space left on device")
    assert judged(raised("SaveFailed", "x", cause=error))[0] == "disk-full"
    assert judged(raised("SaveFailed", "x", context=error))[0] == "exception"


def test_an_oom_kill_is_proved_by_the_counter() -> None:
    """SIGKILL and a counter that rose are an OOM kill; a full memory alone is only noted."""
    full = {"memory": {"limit": 256 << 20, "usage": 255 << 20}}
    killed = process(cgroup={**full, "oom_kill_delta": 1})
    assert judged(ended(signal=9, trigger="oom", process=killed)) == ("oom", "high")
    assert judged(ended(signal=9, process=killed)) == ("oom", "high")
    unproved = verdict(ended(signal=9, process=process(cgroup={**full, "oom_kill_delta": 0})))
    assert (unproved["cause"], unproved["confidence"]) == ("killed", "medium")
    assert "no OOM kill was counted" in " ".join(unproved["evidence"])


def test_an_oom_kill_tells_what_was_seen_before() -> None:
    """How memory grew, the largest types and mappings, and of which moment the stacks are."""
    seen = LastLook(
        MOMENT - timedelta(seconds=2),
        230 << 20,
        256 << 20,
        samples=tuple((MOMENT - timedelta(seconds=age), size << 20) for age, size in ((900, 5), (12, 40), (2, 240))),
        mappings=({"kind": "heap", "name": "[heap]", "rss": 180 << 20, "mappings": 1},),
        types=({"name": "str", "count": 9000, "bytes": 99 << 20}, {"name": "shop.Order", "count": 70, "bytes": 4096}),
    )
    threads = (Thread(PID, "MainThread", frames=stack()),)
    report = made(ended(signal=9, trigger="oom", last_look=seen, threads=threads))

    assert report["verdict"]["evidence"][-6:] == [
        "Memory in use grew from 40 MiB to 240 MiB in the last 10.0 s measured, 20 MiB a second.",
        "The last look at it was 2.0 s before the end, at 90% of the limit.",
        "Most of what was counted then: 99 MiB in 9,000 str.",
        "Of types that are not Python's own: 70 shop.Order.",
        "The largest mappings: 180 MiB heap.",
        "The stacks are of that moment, and not of the end.",
    ]


def test_an_oom_kill_of_another_process_blames_nobody() -> None:
    """A crash of its own is no OOM kill, even where the counter rose."""
    assert (
        judged(crashed(SEGV, address=0, trapno=14, process=process(cgroup={"oom_kill_delta": 1})))[0]
        == "null-dereference"
    )


def test_sigkill_names_no_sender() -> None:
    """Who sent SIGKILL is unknown, and what was in flight is said."""
    found = verdict(ended(signal=9))
    assert found["cause"] == "killed"
    assert (
        "no trace of its sender, with 1 request in flight, GET /checkout (request 7f3a) for 3.2 s." in found["sentence"]
    )


@pytest.mark.parametrize(
    ("status", "clean", "words"), [(7, False, "without running its exit handlers"), (3, True, "exit status 3.")]
)
def test_exits(status: int, clean: bool, words: str) -> None:
    """An exit says its status, and whether the interpreter left in order."""
    found = verdict(ended(status, witness=witness(in_flight=(), left_cleanly=clean)))
    assert (found["cause"], found["confidence"]) == ("exit", "high")
    assert words in found["sentence"]


def test_an_exit_without_black_box_is_less_sure() -> None:
    """Where the probe was absent, nothing is said of exit handlers."""
    found = verdict(ended(127, witness=None))
    assert found["confidence"] == "medium"
    assert "handlers" not in found["sentence"]
    assert "not found" in " ".join(found["evidence"])


def test_an_exit_site_is_named() -> None:
    """The call by which the program left, with its status, its place, its message and its request."""
    left = Ended(3, evidence=("wait status",), call="sys.exit", message="no configuration")
    seen = evidence(trigger="exit", level="EVENT", ended=left, threads=(Thread(PID, frames=stack()),), witness=IDLE)
    found = verdict(seen)
    assert found["sentence"] == "It left by sys.exit(3) in view (app.py:20): no configuration."
    assert (found["cause"], found["confidence"]) == ("exit", "high")


TRACEBACK = (
    "starting\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    x()\nKeyError: 'sku'\n"
)


@pytest.mark.parametrize(
    ("tail", "name", "expected"),
    [
        (TRACEBACK, "python3", ("exception", "medium")),
        (TRACEBACK + "more\n", "python3", ("exit", "medium")),
        (TRACEBACK, "sh", ("exit", "medium")),
        ("Fatal Python error: init_fs_encoding: failed\nPython runtime state: core initialized\nModuleNotFoundError\n",
         "python3.9", ("python-start", "medium")),
    ],
)  # fmt: skip
def test_without_a_probe_python_s_last_words_count(tail: str, name: str, expected: tuple[str, str]) -> None:
    """A traceback at the very end of stderr is the end's cause, where the process is a Python, and never for sure."""
    assert judged(ended(1, witness=None, stderr_tail=tail, process=process(name=name))) == expected


def test_a_cpu_limit_is_told_with_its_numbers() -> None:
    """SIGXCPU and SIGKILL are the limit's where the CPU time says so; else they are what they are."""

    def used(limits: tuple[int | None, int | None], seconds: float) -> ProcessFacts:
        return process(limits={"Max cpu time": limits}, cpu_user_s=seconds, cpu_system_s=0.0)

    assert judged(ended(signal=24, process=used((3, 10), 1.97))) == ("cpu-limit", "high")
    assert judged(ended(signal=24, process=used((30, 40), 1.97))) == ("signal", "medium")
    assert judged(ended(signal=9, process=used((1, 1), 0.95))) == ("cpu-limit", "medium")
    assert judged(ended(signal=9, process=used((None, None), 100.0))) == ("killed", "medium")


def test_a_workers_time_out_names_where_it_hung() -> None:
    """What stands below gunicorn's handler of SIGABRT is what the worker hung in."""
    handler = python_frame("handle_abort", 200, "/srv/venv/lib/python3.11/site-packages/gunicorn/workers/base.py")
    left = Ended(0, evidence=("wait status",))
    threads = (Thread(PID, frames=(handler, *stack())),)
    seen = evidence(trigger="hang", level="FULL", ended=left, threads=threads, witness=IDLE)
    found = verdict(seen)
    assert (found["cause"], found["confidence"]) == ("worker-timeout", "high")
    assert "silent for longer than --timeout; it stood in view (app.py:20)" in found["sentence"]


def test_a_real_time_signal_has_its_name() -> None:
    """Real-time signals are numbered from SIGRTMIN, as in kill -l."""
    assert "SIGRTMIN+3" in verdict(ended(signal=37))["sentence"]


@pytest.mark.parametrize("number", [15, 2])
def test_a_stop_was_asked_for(number: int) -> None:
    """SIGTERM and SIGINT are requests, not crashes."""
    assert judged(ended(signal=number, level="EVENT")) == ("stopped", "high")


def test_a_stop_that_was_answered() -> None:
    """A program that leaves by itself on SIGTERM was asked to stop, too."""
    found = verdict(ended(0, trigger="signal", level="EVENT", witness=IDLE))
    assert found["sentence"] == "It was asked to stop with a signal and left with exit status 0."


@pytest.mark.parametrize("number", [24, 31, 13, 40, 1])
def test_other_signals_are_named(number: int) -> None:
    """Any other signal is named, with its usual meaning where it has one, never with high confidence."""
    assert judged(ended(signal=number)) == ("signal", "medium")


def test_nothing_seen_is_nothing_said() -> None:
    """Where nobody saw the end, the verdict says so."""
    assert judged(ended()) == ("unknown", "low")


def test_a_live_process_says_what_it_serves() -> None:
    """A live report counts the requests in flight and names the oldest."""
    slow = request("/slow", request_id="abc", thread_id=PID + 1)
    young = request("/new", started=MOMENT)
    found = verdict(evidence(witness=witness(in_flight=(slow, young))))
    assert found["sentence"] == "It is alive, with 2 requests in flight, the oldest GET /slow (request abc) for 3.2 s."
    assert verdict(evidence(witness=IDLE))["sentence"] == "It is alive and serves no request."
    unprobed = verdict(evidence(witness=None, threads=(Thread(PID, frames=(WAITING, *stack())),)))
    assert unprobed["sentence"] == "It is alive; its main thread is in view (app.py:20)."


@pytest.mark.parametrize("state", ["stopped", "frozen by its cgroup"])
def test_a_process_that_stands_still_says_who_keeps_it(state: str) -> None:
    """It does not run while it is read, and its requests do not either."""
    threads = (Thread(PID, state=state, frames=stack()), Thread(PID + 1, state=state))
    found = verdict(evidence(witness=None, threads=threads))
    assert found["sentence"] == f"It is {state} and does nothing; its main thread stands in view (app.py:20)."
    assert found["evidence"] == [f"All its threads were {state} when it was read, and were left so."]
    flying = verdict(evidence(witness=witness(), threads=threads))["sentence"]
    assert flying.startswith(f"It is {state} and does nothing") and "/" in flying
    some = verdict(evidence(witness=None, threads=(threads[0], Thread(PID + 1, state="running"))))
    assert some["sentence"].startswith("It is alive")


def test_the_request_is_the_linked_one() -> None:
    """Links decide; without them the crashing thread does, unless it serves several requests."""
    two = (
        request("/a", request_id="a", trace_id="t1", span_id=None),
        request("/b", request_id="b", trace_id="t2", span_id=None),
    )
    box = witness(in_flight=two)
    linked = crashed(SEGV, address=0, trapno=14, witness=box, links=(Link(request_id="b"),))
    assert "GET /b (request b)" in verdict(linked)["sentence"]
    assert "while serving" not in verdict(crashed(SEGV, address=0, trapno=14, witness=box))["sentence"]
    elsewhere = witness(in_flight=(request("/a", thread_id=PID + 7),))
    assert "while serving" not in verdict(crashed(SEGV, address=0, trapno=14, witness=elsewhere))["sentence"]


def test_a_link_without_request_is_still_named() -> None:
    """A capture that knows only its trace says the trace."""
    seen = crashed(SEGV, address=0, trapno=14, witness=IDLE, links=(Link(trace_id="4bf9"),))
    assert verdict(seen)["sentence"].endswith("while serving trace 4bf9.")


def test_native_trap_instruction() -> None:
    """UD2 is a trap that a compiler placed on purpose."""
    divided, rip = code_of(b"\x0f\x0b")
    assert divided.process is not None
    seen = crashed(ILL, trapno=6, registers={"rip": rip}, process=divided.process)
    assert judged(seen) == ("trap-instruction", "high")
