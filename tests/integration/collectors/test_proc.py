"""/proc, read from real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from machine import TIMEOUT_S

from diag.collectors.proc import check_attachable, list_processes, read_process, start_ticks
from diag.errors import CannotAttach, NoSuchInstance
from diag.model import now


def test_facts_of_a_live_process(spawn: Callable, asleep: Callable) -> None:
    """Everything that /proc says of a process of the same user is read, and nothing is missing."""
    child = spawn("sleeping_threads.py", "--", "an argument", env={**os.environ, "SHOP": "open"}, cwd="/tmp")
    asleep(child.pid)

    facts, missing = read_process(child.pid)

    assert missing == ()
    assert (facts.pid, facts.parent_pid, facts.uid) == (child.pid, os.getpid(), os.getuid())
    assert facts.command[2:] == ("--", "an argument")
    assert (facts.working_directory, facts.root) == ("/tmp", "/")
    assert facts.executable == os.path.realpath(sys.executable)
    assert timedelta() <= now() - facts.start_time < timedelta(seconds=TIMEOUT_S)
    assert facts.environment["SHOP"] == "open"
    assert 0 < facts.memory["rss"] <= facts.memory["peak_rss"] <= facts.memory["virtual"]
    assert facts.open_files == len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
    assert facts.limits["Max open files"][0] == int(subprocess.check_output(["sh", "-c", "ulimit -n"]))
    assert any(mapped.path == facts.executable for mapped in facts.maps)
    assert facts.tasks[0].thread_id == child.pid
    assert len(facts.tasks) == 2
    assert {task.state for task in facts.tasks} == {"S"}
    assert facts.context_switches_voluntary
    assert facts.cgroup["version"] in (1, 2)


def test_hostile_name_moves_nothing(spawn: Callable) -> None:
    """A process that names itself like a line of stat is read with its own state, parent and name."""
    child = spawn("hostile_name.py")

    facts, missing = read_process(child.pid)

    assert missing == ()
    assert facts.name == "x) Z 1\n(\x1b[2J"
    assert facts.tasks[0].name == facts.name
    assert facts.parent_pid == os.getpid()
    assert start_ticks(child.pid) > 0
    assert next(listed for listed in list_processes() if listed.pid == child.pid).name == facts.name


def test_process_that_is_gone_is_no_instance() -> None:
    """A pid without a process is NoSuchInstance everywhere."""
    child = subprocess.Popen(["true"])
    child.wait(TIMEOUT_S)

    for read in (read_process, start_ticks, check_attachable):
        with pytest.raises(NoSuchInstance):
            read(child.pid)


def test_process_that_dies_under_the_read_is_whole_or_gone() -> None:
    """Reading while processes end gives facts or NoSuchInstance, never another error."""
    seen = []
    for _ in range(60):
        child = subprocess.Popen(["sleep", "10"])
        killer = threading.Timer(0.001, child.kill)
        killer.start()
        try:
            for _ in range(100):
                facts, _ = read_process(child.pid)
                seen.append(facts.pid)
        except NoSuchInstance:
            pass
        finally:
            killer.join()
            child.kill()
            child.wait(TIMEOUT_S)
        with pytest.raises(NoSuchInstance):
            read_process(child.pid)
    assert seen


def test_zombie_says_what_it_no_longer_has() -> None:
    """Of a process that ended and was not waited for, the times are read and the rest is listed as missing."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        facts, missing = read_process(child.pid)
    finally:
        child.wait(TIMEOUT_S)

    assert facts.tasks[0].state == "Z"
    assert facts.maps == ()
    assert "header.cwd" in {entry.section for entry in missing}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user_is_refused_and_partly_read(spawn: Callable, as_nobody: Callable) -> None:
    """Another user's process cannot be attached to; what is public is read, the rest is listed with the reason."""
    child = spawn("sleeping_threads.py")

    def look() -> None:
        with pytest.raises(CannotAttach) as caught:
            check_attachable(child.pid)
        assert caught.value.exit_code == 3
        facts, missing = read_process(child.pid)
        assert facts.memory["rss"] > 0
        assert facts.environment == {}
        assert {"environmentVariables", "sharedObjects"} <= {entry.section for entry in missing}
        assert all("CAP_SYS_PTRACE" in entry.reason for entry in missing)

    as_nobody(look)


def test_looking_does_not_disturb(spawn: Callable) -> None:
    """A process that was looked at many times ends as it would have: same output, same status, never stopped."""
    child = spawn("sleeping_threads.py")

    for _ in range(50):
        facts, _ = read_process(child.pid)
        assert not {task.state for task in facts.tasks} & {"T", "t"}

    output, _ = child.communicate(timeout=TIMEOUT_S)
    assert (output, child.returncode) == ("done\n", 7)


def test_stopped_process_is_read_and_stays_stopped(spawn: Callable) -> None:
    """Somebody stopped it: that is a fact to show and nothing to change."""
    child = spawn("sleeping_threads.py")
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    facts, missing = read_process(child.pid)

    assert missing == ()
    assert {task.state for task in facts.tasks} == {"T"}
    assert Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    child.send_signal(signal.SIGCONT)


def test_list_has_this_process() -> None:
    """The list of processes has us, under our parent."""
    mine = next(listed for listed in list_processes() if listed.pid == os.getpid())

    assert mine.parent_pid == os.getppid()
    assert mine.rss_bytes > 0
