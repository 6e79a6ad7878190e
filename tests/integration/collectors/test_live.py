"""One look at a live process: rich, and without a trace in the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from machine import TIMEOUT_S, need
from states import States

from diag.collectors import external
from diag.collectors.live import Depth, look
from diag.collectors.pause import PauseWatch
from diag.errors import CannotAttach, NoSuchInstance, ToolMissing
from diag.evidence import Request, Witness
from diag.model import Instance, Link, now, parse_stamp


def instance(pid: int) -> Instance:
    """An instance of which only the pid is known."""
    return Instance("shop", "shop", "id", "host", pid, "")


def switches(pid: int) -> list[str]:
    """How often each thread of the process was taken off its processor."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        found += [line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line]
    return found


def test_look_is_whole_and_unnoticed(spawn: Callable, asleep: Callable, marker: Callable) -> None:
    """Facts and stacks are there, nothing is missing, and the process neither stopped nor woke up."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)
    before = switches(child.pid)

    with States(child.pid) as states:
        evidence = look(instance(child.pid))

    assert states.seen == {"S"}
    assert switches(child.pid) == before
    assert evidence.incomplete == ()
    assert evidence.cost.pause_s == 0
    assert evidence.cost.duration_s > 0
    assert evidence.process is not None
    assert evidence.instance.runtime.startswith("python 3.")
    assert abs(now() - parse_stamp(evidence.instance.start_time)) < timedelta(seconds=TIMEOUT_S)
    assert {(t.name, t.frames[0].line) for t in evidence.threads if t.name == "MainThread"} == {
        ("MainThread", marker("sleeping_threads.py", "read"))
    }
    output, _ = child.communicate(timeout=TIMEOUT_S)
    assert (output, child.returncode) == ("done\n", 7)


def test_depth_is_paid_with_a_pause_that_is_told(spawn: Callable, asleep: Callable) -> None:
    """Locals and native frames come with the time that the process stood still for them."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)

    evidence = look(instance(child.pid), depth=Depth(locals=True, native=True))

    assert 0 < evidence.cost.pause_s < evidence.cost.duration_s
    main = next(thread for thread in evidence.threads if thread.name == "MainThread")
    assert main.frames[0].language == "native"
    assert {"amount": "41"} in [frame.locals for frame in main.frames]


class Looking(PauseWatch):
    """A pause watch that says what it has seen."""

    seen: frozenset[bool] = frozenset()

    def _standing(self) -> bool:
        standing = super()._standing()
        self.seen |= {standing}
        return standing


def test_pause_counts_from_running_to_running(spawn: Callable, wait_for: Callable) -> None:
    """The measured pause covers the whole stop."""
    child = spawn("sleeping_threads.py")

    with Looking(child.pid) as watch:
        wait_for(lambda: watch.seen == {False})
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        began = time.monotonic()
        wait_for(lambda: watch.seen == {False, True} and time.monotonic() - began > 0.05)
        stood_s = time.monotonic() - began
        child.send_signal(signal.SIGCONT)
        wait_for(lambda: watch.pause_s > 0)

    assert watch.pause_s >= stood_s


def test_stopped_process_is_read_in_full_and_left_alone(spawn: Callable, asleep: Callable) -> None:
    """Of a process that somebody stopped, locals are read without taking hold of it; native frames are refused."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    with States(child.pid) as states:
        evidence = look(instance(child.pid), depth=Depth(locals=True, native=True))

    assert states.seen == {"T"}
    assert evidence.cost.pause_s == 0
    assert {thread.state for thread in evidence.threads} == {"stopped"}
    assert {"amount": "41"} in [frame.locals for thread in evidence.threads for frame in thread.frames]
    assert [entry.section for entry in evidence.incomplete] == ["nativeStack"]
    child.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(("tool", "runtime"), [("cat", "native"), ("node", "node")])
def test_other_runtimes_give_what_proc_has(tool: str, runtime: str) -> None:
    """A program that is not Python gives its facts and the kernel's threads, and says what would show more."""
    command = [need(tool)] + (["-e", "process.stdin.resume()"] if tool == "node" else [])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        evidence = look(instance(child.pid))

        assert evidence.instance.runtime == runtime
        assert evidence.process is not None
        assert {t.thread_id for t in evidence.threads} == {task.thread_id for task in evidence.process.tasks}
        (missing,) = [entry for entry in evidence.incomplete if entry.section == "threads.frames"]
        assert "not a Python process" in missing.reason


def test_native_frames_of_a_native_program(asleep: Callable) -> None:
    """eu-stack reads them where they are asked for, and the kernel says what the thread waits for."""
    need("eu-stack")
    with subprocess.Popen([need("cat")], stdin=subprocess.PIPE) as child:
        asleep(child.pid)

        evidence = look(instance(child.pid), depth=Depth(native=True))

        (thread,) = evidence.threads
        assert any("read" in frame.function for frame in thread.frames)
        assert thread.waiting is not None and thread.waiting.what.startswith("reads from a pipe")
        assert 0 < evidence.cost.pause_s <= evidence.cost.duration_s


def test_requests_in_flight_become_links(spawn: Callable) -> None:
    """Every request that the black box has in flight is linked, once."""
    child = spawn("sleeping_threads.py")
    request = Request(started=now(), thread_id=child.pid, request_id="r-1", trace_id="t-1")
    anonymous = Request(started=now(), thread_id=child.pid)

    evidence = look(instance(child.pid), witness=Witness(in_flight=(request, request, anonymous)))

    assert evidence.links == (Link("r-1", "t-1"),)


def test_ended_process_says_so() -> None:
    """A zombie has nothing left to look at, and says who keeps it."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(NoSuchInstance, match=f"its parent {os.getpid()}"):
            look(instance(child.pid))
    finally:
        child.wait(TIMEOUT_S)


def test_without_py_spy_the_rest_is_there(spawn: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tool costs the stacks only, with the way to get it; asked for by name it is an error."""
    child = spawn("sleeping_threads.py")
    monkeypatch.setattr(external.sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")

    evidence = look(instance(child.pid))

    assert evidence.process is not None
    assert len(evidence.threads) == 2
    assert "pip install py-spy" in evidence.incomplete[0].reason
    with pytest.raises(ToolMissing):
        look(instance(child.pid), depth=Depth(locals=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user_is_refused(spawn: Callable, as_nobody: Callable) -> None:
    """Another user's process is CannotAttach, not half a report."""
    child = spawn("sleeping_threads.py")

    def refused() -> None:
        with pytest.raises(CannotAttach):
            look(instance(child.pid))

    as_nobody(refused)


def test_busy_process_keeps_running(spawn: Callable) -> None:
    """A process that computes is never seen standing."""
    child = spawn("busy_loop.py", python=sys.executable)

    with States(child.pid) as states:
        look(instance(child.pid))

    assert not states.seen & {"t", "T"}
