"""Who keeps a process from running, read from /proc and from groups made of files."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import TIMEOUT_S

from diag.collectors.cgroup import Mount, frozen
from diag.collectors.procfs import ProcFolder
from diag.collectors.vitals import Vitals, between, ran, rests, vitals
from diag.evidence import Ran

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def look(pid: int, *, closely: bool = True) -> Vitals:
    """One look at it."""
    with ProcFolder(pid) as folder:
        return vitals(folder, closely=closely)


def test_who_sleeps_is_kept_by_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    """A process that waits could run."""
    assert look(sleeper.pid) == Vitals()


def test_stopped_by_which_signal(sleeper: subprocess.Popen[bytes]) -> None:
    """By the kernel's word, where it says so; it is not continued by the look."""
    os.kill(sleeper.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
    seen = look(sleeper.pid, closely=False)
    assert seen.standing == "stopped"
    assert seen.signal in (signal.SIGSTOP, None)
    assert look(sleeper.pid) == seen


def test_a_traced_process_is_traced_also_while_it_runs(sleeper: subprocess.Popen[bytes]) -> None:
    """A debugger that lets it run is seen by the kernel's word only."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(PTRACE_SEIZE, sleeper.pid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert look(sleeper.pid) == Vitals("traced")


def test_what_a_thread_did_between_two_looks(sleeper: subprocess.Popen[bytes]) -> None:
    """Nothing, of one that sleeps; and it sleeps in a system call that has a name."""
    with ProcFolder(sleeper.pid) as folder:
        until = time.monotonic() + TIMEOUT_S
        while (found := rests(folder, sleeper.pid)) is None or found[0] is None or "sleep" not in found[0].name:
            assert time.monotonic() < until, "it does not sleep"
        first = ran(folder)
        assert between(first, ran(folder)) == {sleeper.pid: Ran()}
        assert first[sleeper.pid].turns > 0


STATES = [
    (1, "FROZEN", True),
    (1, "FREEZING", True),
    (1, "THAWED", False),
    (2, "frozen 1", True),
    (2, "frozen 0", False),
]


@pytest.mark.parametrize(("version", "text", "wanted"), STATES)
def test_a_frozen_group(version: int, text: str, wanted: bool, tmp_path: Path) -> None:
    """Both versions of control groups say it in their own way."""
    group = tmp_path / "shop"
    group.mkdir()
    name = "freezer" if version == 1 else ""
    (group / ("freezer.state" if version == 1 else "cgroup.events")).write_text(f"{text}\n")
    mounts = (Mount(frozenset([name]), "/", tmp_path),)
    assert frozen(f"4:{name}:/shop\n" if version == 1 else "0::/shop\n", mounts) is wanted
