"""Stacks, read by the real py-spy from real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import TIMEOUT_S, VERSIONS, python

from diag.collectors import external, pyspy
from diag.errors import CannotAttach, NoSuchInstance, ToolFailed
from diag.evidence import Thread


def by_name(threads: tuple[Thread, ...]) -> dict[str | None, Thread]:
    """The threads under their names."""
    return {thread.name: thread for thread in threads}


def state(pid: int) -> str:
    """The kernel's letter for the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or nobody has waited for it yet."""
    try:
        return state(pid) == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("version", VERSIONS)
def test_settled_stacks_of_a_waiting_process(version: str, spawn: Callable, asleep: Callable, marker: Callable) -> None:
    """Two reads without a stop agree on every thread of a waiting process, with its real lines and thread ids."""
    child = spawn("sleeping_threads.py", python=python(version))
    asleep(child.pid)

    threads, missing = pyspy.dump_settled(child.pid)

    assert missing == ()
    main, napper = by_name(threads)["MainThread"], by_name(threads)["napper"]
    assert main.thread_id == child.pid
    assert {main.thread_id, napper.thread_id} == {int(task.name) for task in Path(f"/proc/{child.pid}/task").iterdir()}
    assert [(f.function, f.line) for f in main.frames] == [
        ("serve", marker("sleeping_threads.py", "read")),
        ("<module>", marker("sleeping_threads.py", "serve")),
    ]
    assert ("nap", marker("sleeping_threads.py", "nap")) in [(f.function, f.line) for f in napper.frames]


def test_moving_stacks_are_marked_or_agree(spawn: Callable) -> None:
    """Of a process that never rests, a stack is there, and where no two reads agreed, it is said."""
    child = spawn("busy_loop.py")

    threads, missing = pyspy.dump_settled(child.pid)

    assert [thread.thread_id for thread in threads] == [child.pid]
    assert threads[0].frames[-1].function == "<module>"
    assert {entry.section for entry in missing} <= {"threads"}


def test_disagreeing_reads_are_said(spawn: Callable, asleep: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread on which no two reads in a row agree is listed as one that may mix two moments."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)
    real, calls = pyspy.dump, iter(range(100))

    def moving(pid: int, **options: object) -> tuple[Thread, ...]:
        main, *others = sorted(real(pid, **options), key=lambda thread: thread.thread_id)  # type: ignore[arg-type]
        return (Thread(main.thread_id, "MainThread", frames=main.frames[next(calls) % 2 :]), *others)

    monkeypatch.setattr(pyspy, "dump", moving)
    threads, missing = pyspy.dump_settled(child.pid)

    assert len(threads) == 2
    assert [entry.section for entry in missing] == ["threads"]
    assert f"thread {child.pid} (MainThread)" in missing[0].reason


def test_locals_and_native_frames(spawn: Callable, asleep: Callable) -> None:
    """Asked for, locals are there by name, and native frames stand among the Python ones."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)

    threads = by_name(pyspy.dump(child.pid, native=True, locals_=True))

    serve = next(frame for frame in threads["MainThread"].frames if frame.function == "serve")
    assert serve.locals == {"amount": "41"}
    assert threads["MainThread"].frames[0].language == "native"


def test_target_ends_as_it_would_have(spawn: Callable, asleep: Callable) -> None:
    """Read in every way, the process gives the same output and the same status."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)

    pyspy.dump_settled(child.pid)
    pyspy.dump(child.pid, locals_=True)
    pyspy.dump(child.pid, native=True)

    assert state(child.pid) == "S"
    output, _ = child.communicate(timeout=TIMEOUT_S)
    assert (output, child.returncode) == ("done\n", 7)


def test_stopped_process_stays_stopped(spawn: Callable, asleep: Callable) -> None:
    """A process that somebody stopped is read without a stop and stays as it is."""
    child = spawn("sleeping_threads.py")
    asleep(child.pid)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    threads, _ = pyspy.dump_settled(child.pid)

    assert len(threads) == 2
    assert state(child.pid) == "T"
    child.send_signal(signal.SIGCONT)


def test_process_without_python_fails_with_its_word() -> None:
    """What py-spy complains about reaches the user."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        with pytest.raises(ToolFailed, match="py-spy could not read process"):
            pyspy.dump(child.pid)


def test_gone_process_is_no_instance() -> None:
    """A pid without a process is NoSuchInstance, whatever py-spy says."""
    with subprocess.Popen(["true"]) as child:
        child.wait(TIMEOUT_S)

    with pytest.raises(NoSuchInstance):
        pyspy.dump(child.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user_cannot_be_attached(spawn: Callable, as_nobody: Callable) -> None:
    """Another user's process is CannotAttach before any tool is started."""
    child = spawn("sleeping_threads.py")

    def look() -> None:
        with pytest.raises(CannotAttach):
            pyspy.dump(child.pid)

    as_nobody(look)


def test_stuck_tool_is_ended(
    spawn: Callable, asleep: Callable, wait_for: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A py-spy that hangs, with a child of its own, is killed at the limit, and leaves neither behind."""
    tool = tmp_path / "py-spy"
    tool.write_text(f"#!/bin/sh\nsleep 1000 & echo $! > {tmp_path}/pid\nwait\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(pyspy, "find", lambda: str(tool))
    child = spawn("sleeping_threads.py")
    asleep(child.pid)

    with pytest.raises(ToolFailed, match="did not read process"):
        pyspy.dump(child.pid, timeout_s=10)  # by then it has its own child, on a busy machine too

    # A killed process ends when the scheduler comes to it.
    wait_for(lambda: has_ended(int((tmp_path / "pid").read_text())))
    assert state(child.pid) == "S"


def test_target_is_released_when_the_reader_was_killed(spawn: Callable, wait_for: Callable) -> None:
    """Should a killed reader leave its SIGSTOP behind, the process is let run on."""
    child = spawn("sleeping_threads.py")
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    pyspy._release(child.pid, was_stopped=False)

    wait_for(lambda: state(child.pid) == "S")


def test_error_has_the_tail_of_what_the_tool_said() -> None:
    """Only the end of a long complaint is kept, and the exit status."""
    ran = external.run([sys.executable, "-c", "import sys; sys.exit('x' * 5000 + ' the reason')"], timeout_s=TIMEOUT_S)

    assert ran.status == 1
    assert ran.stderr.endswith("the reason")
    assert len(ran.stderr) <= external.STDERR_TAIL
