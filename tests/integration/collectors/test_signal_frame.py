"""The kernel's signal frame, read from processes that really crashed."""

from __future__ import annotations

import platform
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from machine import VERSIONS, python

from diag.collectors import pyspy, signal_frame
from diag.collectors.faulthandler_text import parse_faulthandler
from diag.collectors.proc import read_process

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the signal frame's layout is x86-64's")


@dataclass(frozen=True)
class Kind:
    """A way to crash, and what the processor and the kernel say of it."""

    name: str
    signal: signal.Signals
    trapno: int
    address: int | None = None
    code: int | None = None


SENT = [Kind("sent", signal.SIGSEGV, 0), Kind("abort", signal.SIGABRT, 0)]
FAULTS = [
    Kind("string_at", signal.SIGSEGV, 14, address=0),
    Kind("fault_null_read", signal.SIGSEGV, 14, address=0),
    Kind("fault_wild_write", signal.SIGSEGV, 14, address=0x1234567000),
    Kind("fault_non_canonical", signal.SIGSEGV, 13),
    Kind("fault_null_call", signal.SIGSEGV, 14, address=0),
    Kind("fault_divide", signal.SIGFPE, 0, code=1),
    Kind("fault_illegal", signal.SIGILL, 6),
    Kind("fault_bus", signal.SIGBUS, 14, address=0x7E0000001000),
]


@pytest.mark.parametrize("kind", [*SENT, *FAULTS], ids=lambda kind: kind.name)
def test_crash_gives_its_signal_trap_and_address(kind: Kind, freeze: Callable) -> None:
    """Each kind of crash yields the trap number and address that its hardware fault had, and none where it was sent."""
    child = freeze(kind.name)

    fault = signal_frame.read_fault(child.pid, child.thread_id, signal=kind.signal)

    assert fault is not None
    assert (fault.signal, fault.trapno, fault.address, fault.code) == (
        kind.signal,
        kind.trapno,
        kind.address,
        kind.code,
    )
    assert child.let_die() == -kind.signal


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind.name != "string_at"], ids=lambda kind: kind.name)
def test_registers_point_at_the_faulting_instruction(kind: Kind, freeze: Callable, faults: object) -> None:
    """`rip` lies in the library that faulted; after a call through a null pointer it is the null pointer."""
    child = freeze(kind.name)

    fault = signal_frame.read_fault(child.pid, child.thread_id)

    assert fault is not None
    facts, _ = read_process(child.pid)
    place = next((m.path for m in facts.maps if m.start <= fault.registers["rip"] < m.end), None)
    assert place == (None if kind.name == "fault_null_call" else str(faults))
    stack = next(m for m in facts.maps if m.start <= fault.registers["rsp"] < m.end)
    assert "w" in stack.permissions


def test_signal_is_told_by_the_trap_where_nobody_knows_it(freeze: Callable) -> None:
    """Without the caller's word, an illegal instruction is still a SIGILL."""
    child = freeze("fault_illegal")

    fault = signal_frame.read_fault(child.pid, child.thread_id)

    assert fault is not None
    assert fault.signal == signal.SIGILL


def test_fault_in_a_second_thread_is_found_there(freeze: Callable) -> None:
    """The blocked thread is the one that crashed, and its frame stands on its own stack."""
    child = freeze("fault_wild_write", thread=True)

    fault = signal_frame.read_fault(child.pid, child.thread_id)

    assert child.thread_id != child.pid
    assert fault is not None
    assert (fault.thread_id, fault.address) == (child.thread_id, 0x1234567000)
    assert signal_frame.read_fault(child.pid, child.pid) is None


@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "second thread"])
def test_cut_stack_starts_where_the_fault_was(
    freeze: Callable, thread: bool, marker: Callable[[str, str], int]
) -> None:
    """Without the handler's frames the innermost function is the faulting one, called from its Python line."""
    child = freeze("fault_divide", thread=thread)
    fault = signal_frame.read_fault(child.pid, child.thread_id)
    assert fault is not None

    crashed = next(t for t in pyspy.dump(child.pid, native=True) if t.thread_id == child.thread_id)
    frames = signal_frame.cut_handler(crashed.frames, fault.restorer)

    assert frames[0].function == "fault_divide"
    caller = next(frame for frame in frames if frame.language == "python")
    assert (caller.function, caller.line) == ("crash", marker("frozen_crash.py", "fault"))
    assert len(frames) < len(crashed.frames)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_gives_frame_stacks_and_text(version: str, freeze: Callable) -> None:
    """On each CPython the frame is found, py-spy reads the stacks while it stands, and its text parses."""
    child = freeze("fault_wild_write", python=python(version))

    fault = signal_frame.read_fault(child.pid, child.thread_id)
    threads = pyspy.dump(child.pid, native=True)

    assert fault is not None
    assert fault.address == 0x1234567000
    frames = signal_frame.cut_handler(threads[0].frames, fault.restorer)
    assert frames[0].function == "fault_wild_write"
    assert child.let_die() == -signal.SIGSEGV
    name, spoken = parse_faulthandler(child.text)
    assert name == "Segmentation fault"
    python_frames = [frame for frame in frames if frame.language == "python"]
    assert [(f.file, f.line) for f in spoken[0].frames] == [(f.file, f.line) for f in python_frames]
    assert spoken[0].crashed


def test_no_frame_in_a_thread_that_is_not_in_a_handler(spawn: Callable) -> None:
    """A process that waits in an ordinary system call has no signal frame and no blocked writer."""
    child = spawn("sleeping_threads.py")

    assert signal_frame.read_fault(child.pid, child.pid) is None
    assert signal_frame.blocked_writer(child.pid, wait_s=0) is None
