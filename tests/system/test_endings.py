"""What the record of a death says, in detail; which record each death has, test_faults.py says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from instances import DIAG, Machine, marker, program
from machine import PROGRAMS, VERSIONS, python

from diag.probe.diag_probe import layout


@pytest.mark.parametrize("version", VERSIONS)
def test_a_null_read_is_told_whole(machine: Machine, faults: str, version: str) -> None:
    """A fault on each Python: one NATIVE record with the line, the C function, the address and the registers."""
    ended = machine.run(python(version), program("die.py"), "null", faults)

    report = machine.only_report()
    crashed = report["threads"][0]
    python_frames = [frame for frame in crashed["frames"] if frame["language"] == "python"]
    assert ended.status == 128 + signal.SIGSEGV
    assert (machine.only_capture()["level"], report["signal"]["faultAddress"]) == ("NATIVE", "0x0000000000000000")
    assert crashed["crashed"]
    assert crashed["frames"][0]["function"] == "fault_null_read"
    assert python_frames[0]["line"] == marker("die.py", "crash")
    assert int(report["signal"]["registers"]["rip"], 16) > 0
    assert "NULL" in report["verdict"]["sentence"]


def test_a_fault_in_a_second_thread_marks_that_thread(machine: Machine, faults: str) -> None:
    """The crashed thread is the one that faulted, not the main thread that waits for it."""
    machine.run(python("3.11"), program("die.py"), "thread", faults)

    threads = machine.only_report()["threads"]
    assert [thread["name"] for thread in threads if thread["crashed"]] == ["doomed"]
    assert len(threads) == 2


def test_an_exception_keeps_its_chain_and_line(machine: Machine) -> None:
    """An uncaught exception is FULL: type, message and frames, innermost first."""
    machine.run(python("3.12"), program("die.py"), "raise")

    report = machine.only_report()
    assert (report["exception"]["type"], report["exception"]["message"]) == ("KeyError", "'sku'")
    assert report["exit"]["status"] == 1
    assert report["pythonStack"]["frames"][0]["function"] == "<lambda>"


def test_a_fork_that_faults_is_recorded_and_its_parent_untouched(machine: Machine, faults: str) -> None:
    """The child of a fork has its own record, linked to its parent, whose status and output stay its own."""
    ended = machine.run(python("3.11"), program("die.py"), "fork_fault", faults)

    capture = machine.only_capture()
    assert (ended.status, ended.stdout) == (0, "before\nchild 11\n")
    assert (capture["level"], capture["instance"]["name"]) == ("NATIVE", Path(python("3.11")).name)
    assert capture["instance"]["parent"]["pid"] != capture["instance"]["pid"]


def test_a_diag_in_an_instance_is_no_part_of_it(machine: Machine) -> None:
    """`diag run` below `diag run`: the death has the inner one's record, the outer one has the status that it left."""
    ended = machine.run(*DIAG, "run", "--", python("3.11"), program("die.py"), "raise")

    assert ended.status == 1
    assert sorted(capture["level"] for capture in machine.captures()) == ["EVENT", "FULL"]


def test_a_program_keeps_its_own_faulthandler(machine: Machine) -> None:
    """A program that enables faulthandler itself sees its text on its stderr, and the crash is NATIVE.

    A freeze that lasts beyond SEND_TIMEOUT_S, on a loaded machine, costs the text a word for each such while.
    """
    script = "import ctypes, faulthandler, known\nfaulthandler.enable()\nknown.wait_until_known()\nctypes.string_at(0)"
    more = {"PYTHONPATH": str(PROGRAMS)}
    bare = machine.run(python("3.11"), "-c", script, run=False, env=more)
    watched = machine.run(python("3.11"), "-c", script, env=more)

    def told(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(("diag: ", "Current thread"))]

    crash = machine.only_capture()
    assert crash["level"] == "NATIVE"
    if crash["cost"]["pause_s"] < layout.SEND_TIMEOUT_S:
        assert told(watched.stderr) == told(bare.stderr)
    else:
        assert told(watched.stderr)[0] == told(bare.stderr)[0] == "Fatal Python error: Segmentation fault"


def test_the_tail_of_stderr_is_kept_and_redacted(machine: Machine) -> None:
    """The last lines of stderr are in the record of a death that only the parent sees; secrets in them are not."""
    script = (
        "import os, sys; sys.stderr.write('password=hunter2hunter2\\nlast words\\n'); sys.stderr.flush(); os._exit(5)"
    )
    machine.run(python("3.11"), "-c", script)

    tail = machine.only_report()["stderrTail"]
    assert "last words" in tail
    assert "hunter2" not in tail


@pytest.mark.parametrize("way", ["raise", "fault"])
def test_one_story_has_one_fingerprint_in_every_python(machine: Machine, way: str) -> None:
    """The same program on the oldest and the newest Python, and from another folder with other lines: one group."""
    moved = machine.home / "release-2" / "same_story.py"
    moved.parent.mkdir()
    moved.write_text("\n\n" + Path(program("same_story.py")).read_text())

    for version, path in ((VERSIONS[0], program("same_story.py")), (VERSIONS[-1], str(moved))):
        machine.run(python(version), path, way)

    found = machine.captures()
    assert len(found) == 2
    assert len({manifest["fingerprint"] for manifest in found}) == 1, [one["title"] for one in found]
