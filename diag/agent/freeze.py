"""Reads a process that stands still in a fatal signal, then lets it die.

CPython's faulthandler writes to the probe's socket and blocks there, because nobody reads on. Everything below happens
while it waits, in stages, the most telling first, within a time budget; the guard ends the freeze after
`layout.FREEZE_LIMIT_S` whatever happens here.

Its socket has room for six packets, and the shortest text, that of one thread in no Python function, has seven: until
all is read the text is looked at where it is, and not one packet taken.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from datetime import datetime

from diag.collectors import faulthandler_text, proc, pyspy, signal_frame
from diag.collectors.signal_frame import FaultFrame
from diag.errors import DiagError
from diag.evidence import Fault, ProcessFacts, Thread
from diag.model import Cost, Missing, now

BUDGET_S = 1.5
NATIVE_THREADS = 150  # above this many, native frames of all threads do not fit the budget
TEXT_WAIT_S = 0.3  # between two packets of faulthandler's text, once somebody reads on; and until it waits
_SO_PEEK_OFF = 42  # include/uapi/asm-generic/socket.h, since Linux 3.4

_SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Floating point exception": signal.SIGFPE,
    "Floating-point exception": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
}


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was read while the process stood still. `text` is faulthandler's own output, whole."""

    time: datetime
    signal: int | None
    facts: ProcessFacts | None
    fault: Fault | None
    threads: tuple[Thread, ...]
    text: str
    missing: tuple[Missing, ...]
    cost: Cost


def freeze(pid: int, link: socket.socket, *, with_locals: bool, echo_to: int | None) -> Frozen:
    """Read the process that writes to the link, then read that to the end so that it dies of its own signal.

    `echo_to` is a descriptor of ours to which faulthandler's text is passed on, for a program that asked for it.
    """
    began, cpu = time.monotonic(), time.process_time()
    moment = now()
    missing: list[Missing] = []
    thread_id = _blocked_writer(pid, missing)
    number = _signal_in(waiting(link))
    facts = _read_facts(pid, missing)
    fault = _read_fault(pid, thread_id, number, missing) if thread_id is not None else None
    threads = _read_threads(pid, facts, missing, with_locals=with_locals, until=began + BUDGET_S)
    threads = _point_out(threads, fault, facts)
    pause_s = time.monotonic() - began
    text = drain(link, until=began + BUDGET_S + 0.2)
    whole = text.decode(errors="replace")
    if echo_to is not None:
        _echo(echo_to, text)
    name, spoken = faulthandler_text.parse_faulthandler(whole)
    number = number or _SIGNALS.get(name or "")
    return Frozen(
        time=moment,
        signal=number,
        facts=facts,
        fault=fault,
        threads=threads or tuple(sorted(spoken, key=lambda thread: not thread.crashed)),
        text=whole,
        missing=tuple(missing),
        cost=Cost(pause_s, time.process_time() - cpu, time.monotonic() - began),
    )


def drain(link: socket.socket, *, until: float) -> bytes:
    """Everything the socket still brings, up to its end, a silence, or the time."""
    text = b""
    while time.monotonic() < until and (packet := _receive(link, wait_s=TEXT_WAIT_S)):
        text += packet
    return text


def _receive(link: socket.socket, *, wait_s: float) -> bytes:
    link.settimeout(wait_s)
    try:
        return link.recv(65536)
    except OSError:
        return b""


def waiting(link: socket.socket) -> bytes:
    """What is in the socket, and stays there."""
    text = b""
    link.setblocking(False)
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        while packet := link.recv(65536, socket.MSG_PEEK):
            text += packet
    link.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, -1)
    return text


def _signal_in(text: bytes) -> int | None:
    spoken = text.decode(errors="replace")
    return next((number for name, number in _SIGNALS.items() if name in spoken), None)


def _read_facts(pid: int, missing: list[Missing]) -> ProcessFacts | None:
    try:
        facts, unread = proc.read_process(pid)
    except DiagError as error:
        missing.append(Missing("process", str(error)))
        return None
    missing += unread
    return facts


def _blocked_writer(pid: int, missing: list[Missing]) -> int | None:
    try:
        thread_id = signal_frame.blocked_writer(pid, wait_s=TEXT_WAIT_S)
    except DiagError as error:
        missing.append(Missing("signal", str(error)))
        return None
    if thread_id is None:
        missing.append(Missing("signal", "the thread that crashed was not found standing in its handler"))
    return thread_id


def _read_fault(pid: int, thread_id: int, number: int | None, missing: list[Missing]) -> FaultFrame | None:
    try:
        fault = signal_frame.read_fault(pid, thread_id, signal=number)
    except DiagError as error:
        missing.append(Missing("signal", str(error)))
        return None
    if fault is None:
        missing.append(Missing("signal", "the kernel's signal frame was not found on the crashing thread's stack"))
        return FaultFrame(signal=number, thread_id=thread_id) if number else None
    return fault


def _read_threads(
    pid: int, facts: ProcessFacts | None, missing: list[Missing], *, with_locals: bool, until: float
) -> tuple[Thread, ...]:
    count = len(facts.tasks) if facts else 1
    native = count <= NATIVE_THREADS
    if not native:
        missing.append(
            Missing("threads.native", f"{count} threads: native frames of all would not fit the time budget")
        )
    while True:
        try:
            return pyspy.dump(pid, native=native, locals_=with_locals, timeout_s=max(0.1, until - time.monotonic()))
        except DiagError as error:
            missing.append(Missing("threads.native" if native else "threads", str(error)))
            if not native or time.monotonic() >= until:
                return ()
            native = False


def _point_out(threads: tuple[Thread, ...], fault: FaultFrame | None, facts: ProcessFacts | None) -> tuple[Thread, ...]:
    """The crashing thread first, marked, without the frames of faulthandler's own handler."""
    if fault is None:
        return threads
    if threads and not any(thread.thread_id == fault.thread_id for thread in threads):
        # Python does not know it, and so py-spy does not; its registers still say where it stood.
        names = {task.thread_id: task.name for task in facts.tasks} if facts else {}
        threads = (Thread(fault.thread_id, names.get(fault.thread_id)), *threads)
    marked = [
        replace(thread, crashed=True, frames=signal_frame.cut_handler(thread.frames, fault.restorer))
        if thread.thread_id == fault.thread_id
        else thread
        for thread in threads
    ]
    return tuple(sorted(marked, key=lambda thread: not thread.crashed))


def _echo(descriptor: int, text: bytes) -> None:
    # The program asked faulthandler for this text; its reader may be gone.
    with contextlib.suppress(OSError):
        os.write(descriptor, text)
