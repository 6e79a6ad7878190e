"""Fingerprints and titles: the same story has the same one, another story another."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from unit.report.factory import FLASK, PID, crashed, ended, evidence, made, native, process, python_frame, raised, stack

from diag.evidence import Evidence, ExceptionSeen
from diag.model import Instance
from diag.report.fingerprint import fingerprint
from diag.report.title import title

LIBX = "/srv/a/libx.so"


def of(seen: Evidence) -> str:
    """The fingerprint."""
    return made(seen)["fingerprint"]


def test_it_has_a_version() -> None:
    """A fingerprint says by which rules it was made."""
    assert re.fullmatch(r"2:[0-9a-f]{16}", of(raised()))


def other_service(seen: Evidence) -> Evidence:
    """The same of another instance, service and pid."""
    there = Instance("else", "else", "77", "h", PID + 5, seen.instance.start_time)
    return replace(seen, instance=there)


def at(*files: str) -> tuple[Evidence, ...]:
    """The same exception, raised by the same function in each of these files."""
    return tuple(raised(frames=(python_frame("run", 1, file), *stack())) for file in files)


def named(*functions: str) -> tuple[Evidence, ...]:
    """The same exception, raised by each of these functions."""
    return tuple(raised(frames=stack(function)) for function in functions)


SAME: dict[str, tuple[Evidence, ...]] = {
    "shifted lines": (raised(), raised(frames=stack(line=99))),
    "another message": (raised(message="'a'"), raised(message="order 4711 at 0x7f001234")),
    "another instance": (raised(), other_service(raised())),
    "another folder": (raised(), raised(frames=(python_frame("view", 20, "/srv/release-2/app.py"), *stack()[1:]))),
    "deeper recursion": (raised(frames=stack()[:1] * 3 + stack()), raised(frames=stack()[:1] * 30 + stack())),
    "recursion of two that ends in either": (
        raised(frames=(python_frame("a"), python_frame("b")) * 5 + stack()),
        raised(frames=(python_frame("b"), *(python_frame("a"), python_frame("b")) * 5, *stack())),
    ),
    "other library frames": (raised(), raised(frames=(stack()[0], python_frame("newer", 1, FLASK), stack()[-1]))),
    "comprehensions, inlined since 3.12": (raised(), raised(frames=(python_frame("<listcomp>"), *stack()))),
    "parts of a group in another order": (
        raised("ExceptionGroup", exceptions=(ExceptionSeen("A", None, "1"), ExceptionSeen("B", None, "2"))),
        raised("ExceptionGroup", exceptions=(ExceptionSeen("B", None, "3"), ExceptionSeen("A", None, "4"))),
    ),
    "another address": (
        crashed(11, (native("libx.so+0x123", LIBX, 0x1), *stack()), address=0, trapno=14),
        crashed(11, (native("libx.so+0x99", LIBX, 0x2), *stack()), address=8, trapno=14),
    ),
    "another processor's strlen": (
        crashed(11, (native("__strlen_avx2"), *stack())),
        crashed(11, (native("__strlen_evex"), *stack())),
    ),
    "a clone of the function": (
        crashed(11, (native("boom.constprop.0", LIBX), *stack())),
        crashed(11, (native("boom", "/srv/b/libx-2.so.1"), *stack())),
    ),
    "another exit of the service": (ended(7), ended(7)),
    "ids, numbers, times and paths in the message": (
        raised(
            "OSError", "pid 4711 at 0x7f00 2026-03-04T05:06:07Z /tmp/tmpab12cd34/x 9f1c5a62-7a9b-4a3e-8f51-0242ac120002"
        ),
        raised(
            "OSError", "pid 12 at 0x55d1 1999-12-31T23:59:59Z /tmp/tmpzz99yy88/y 00000000-0000-4000-8000-000000000000"
        ),
    ),
    "a script in a temporary folder": at(
        "/tmp/tmpab12cd34/job.py", "/tmp/tmpzz99yy88/job.py", "/var/folders/x1/job.py"
    ),
    "a temporary script": at("/tmp/tmpab12cd34.py", "/tmp/tmp_z99yy88.py"),
    "a cell of a notebook": at("<ipython-input-3-8c1a2b3d4e5f>", "<ipython-input-41-ffffffffffff>"),
    "generated code": at("<attrs generated init 12>", "<attrs generated init 7>"),
    "a hash in a file's name": at("/srv/build/step_9f1c5a62.py", "/srv/build/step_0a0b0c0d.py"),
    "the folder that a package is deployed in": at(
        "/srv/shop-1.2.3/__main__.py", "/srv/shop-1.3/__main__.py", "/opt/shop/__main__.py"
    ),
    "an address in a function's name": named("fn_0x7f00aa", "fn_0x55d1"),
    "a serial number in a function's name": named("job_1772600767", "job_1772609999"),
    "another virtual environment and another Python": (
        raised(frames=(python_frame("get", 3, FLASK), *stack())),
        raised(frames=(python_frame("get", 9, "/opt/venv/lib/python3.8/site-packages/flask/app.py"), *stack())),
    ),
    "the hash of a Rust function": (
        crashed(11, (native("core::panic::h0123456789abcdef", LIBX), *stack())),
        crashed(11, (native("core::panic::hfedcba9876543210", LIBX), *stack())),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_what_changes_from_time_to_time_does_not_matter(case: str) -> None:
    """Lines, addresses, pids, messages, depths and versions do not change the fingerprint."""
    assert len({of(seen) for seen in SAME[case]}) == 1


DIFFERENT = {
    "the exception": (raised("KeyError"), raised("ValueError")),
    "the function": (raised(), raised(frames=stack("other_view"))),
    "the signal": (crashed(11), crashed(7)),
    "a fault and a sent signal": (crashed(11, address=0, trapno=14), crashed(11)),
    "the native function": (crashed(11, (native("f"), *stack())), crashed(11, (native("g"), *stack()))),
    "the status": (ended(7), ended(8)),
    "the service of an exit": (ended(7), other_service(ended(7))),
    "a kill and an OOM kill": (ended(signal=9), ended(signal=9, trigger="oom")),
    "a crash and a look": (evidence(), ended(signal=9)),
    "the error number, with one type and one stack": (
        raised("OSError", "[Errno 28] No space left on device"),
        raised("OSError", "[Errno 24] Too many open files"),
    ),
    "NULL and a wild pointer in one function": (
        crashed(11, address=0, trapno=14),
        crashed(11, address=0x7E0000000000, trapno=14),
    ),
    "a kill and a CPU limit": (
        ended(signal=9),
        ended(signal=9, process=process(limits={"Max cpu time": (2, 2)}, cpu_user_s=2.4, cpu_system_s=0.0)),
    ),
    "functions with a small number": named("handle_404", "handle_500"),
    "words of hexadecimal letters": named("deadbeef", "facade"),
    "packages with one name for their files": at("/srv/shop/cart/__init__.py", "/srv/shop/stock/__init__.py"),
    "two lambdas of two modules": at("/srv/shop/cart.py", "/srv/shop/stock.py"),
    "library frames, where there are no others": (
        raised(frames=(python_frame("a", 1, FLASK),)),
        raised(frames=(python_frame("b", 1, FLASK),)),
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_story_has_another_fingerprint(case: str) -> None:
    """What an engineer would file as another bug is another group."""
    one, two = DIFFERENT[case]
    assert of(one) != of(two)


def test_it_can_be_made_again_from_the_report() -> None:
    """The fingerprint depends on the report alone, so that old reports can be grouped by new rules."""
    report = made(crashed(11, address=0, trapno=14))
    assert fingerprint(report) == report["fingerprint"]


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (crashed(11, address=0, trapno=14), "SIGSEGV in crash_view (app.py:20)"),
        (crashed(11, ()), "SIGSEGV"),
        (crashed(6, (native("boom", LIBX),)), "SIGABRT in boom (libx.so)"),
        (raised(), "KeyError: 'sku' in view (app.py:20)"),
        (raised("StopIteration", "", ()), "StopIteration"),
        (raised(message="first line\nsecond"), "KeyError: first line in view (app.py:20)"),
        (ended(signal=9), "killed by SIGKILL"),
        (ended(signal=9, trigger="oom"), "out of memory, killed by SIGKILL"),
        (ended(signal=15, level="EVENT"), "stopped by SIGTERM"),
        (ended(7), "exit status 7"),
        (evidence(), "live report"),
        (evidence(trigger="hang"), "hang in view (app.py:20)"),
    ],
)
def test_titles(seen: Evidence, line: str) -> None:
    """The one line of a list says what happened and where."""
    assert title(made(seen)) == line
