"""Every way a Python process ends under `diag run`: one record, as rich as the death allows, and nothing changed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from instances import Machine, marker, program
from machine import VERSIONS, python

FAULTS = {
    "null": (signal.SIGSEGV, "0x0000000000000000"),
    "wild": (signal.SIGSEGV, "0x0000001234567000"),
    "divide": (signal.SIGFPE, None),
    "illegal": (signal.SIGILL, None),
    "bus": (signal.SIGBUS, "0x00007e0000001000"),
    "abort": (signal.SIGABRT, None),
    "sent": (signal.SIGSEGV, None),
}
ENDINGS = {
    "kill": (137, "crash", "OUTSIDE", "signal"),
    "xcpu": (128 + signal.SIGXCPU, "crash", "OUTSIDE", "signal"),
    "_exit": (7, "crash", "OUTSIDE", "exit"),
    "c_exit": (9, "crash", "OUTSIDE", "exit"),
    "raise": (1, "crash", "FULL", "exception"),
    "sys_exit": (3, "event", "EVENT", "exit"),
    "message": (1, "event", "EVENT", "exit"),
    "term": (143, "event", "EVENT", "signal"),
    "int": (130, "event", "EVENT", "signal"),
}


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


@pytest.mark.parametrize("way", FAULTS)
def test_each_fatal_signal_is_named(machine: Machine, faults: str, way: str) -> None:
    """Each fatal signal, by fault or by hand, has its name and, where there is one, its address."""
    number, address = FAULTS[way]

    ended = machine.run(python("3.11"), program("die.py"), way, faults)

    report = machine.only_report()
    assert ended.status == 128 + number
    assert report["signal"]["number"] == number
    assert report["signal"]["sent"] == (way in ("sent", "abort"))
    if address:
        assert report["signal"]["faultAddress"] == address


def test_a_fault_in_a_second_thread_marks_that_thread(machine: Machine, faults: str) -> None:
    """The crashed thread is the one that faulted, not the main thread that waits for it."""
    machine.run(python("3.11"), program("die.py"), "thread", faults)

    threads = machine.only_report()["threads"]
    assert [thread["name"] for thread in threads if thread["crashed"]] == ["doomed"]
    assert len(threads) == 2


@pytest.mark.parametrize("version", ["3.8", "3.13"])
@pytest.mark.parametrize("way", ENDINGS)
def test_other_endings_have_their_level(machine: Machine, way: str, version: str) -> None:
    """What an end is recorded as: crash or event, its level and its trigger, on the oldest and the newest Python."""
    status, *wanted = ENDINGS[way]

    ended = machine.run(python(version), program("die.py"), way)

    capture = machine.only_capture()
    machine.report_of(capture)
    assert ended.status == status
    assert [capture["kind"], capture["level"], capture["trigger"]] == wanted


def test_an_exception_keeps_its_chain_and_line(machine: Machine) -> None:
    """An uncaught exception is FULL: type, message and frames, innermost first."""
    machine.run(python("3.12"), program("die.py"), "raise")

    report = machine.only_report()
    assert (report["exception"]["type"], report["exception"]["message"]) == ("KeyError", "'sku'")
    assert report["exit"]["status"] == 1
    assert report["pythonStack"]["frames"][0]["function"] == "<lambda>"


def test_a_good_end_leaves_nothing(machine: Machine) -> None:
    """Exit status 0 is nobody's business: no capture, no line on stderr, no file in the run folder."""
    ended = machine.run(python("3.11"), program("die.py"), "fine")

    assert (ended.status, ended.stdout, ended.stderr) == (0, "before\nout\n", "to stderr\n")
    assert machine.captures() == []
    assert list((machine.home / "run/diag").iterdir()) == []


@pytest.mark.parametrize("way", ["null", "raise", "kill", "sys_exit", "message", "fine", "_exit"])
def test_the_end_is_transparent(machine: Machine, faults: str, way: str) -> None:
    """Same status and stdout as without diag; stderr the same but for one announced line at its end."""
    command = (python("3.11"), program("die.py"), way, faults)
    bare, watched = machine.run(*command, run=False), machine.run(*command)

    added = [line for line in watched.stderr.splitlines() if line.startswith("diag: ")]
    assert watched.status == (bare.status if bare.status >= 0 else 128 - bare.status)
    assert watched.stdout == bare.stdout
    assert watched.stderr == bare.stderr + "".join(f"{line}\n" for line in added)
    assert len(added) == (0 if way in ("fine", "sys_exit", "message") else 1)


def test_a_fork_that_faults_is_recorded_and_its_parent_untouched(machine: Machine, faults: str) -> None:
    """The child of a fork has its own record, linked to its parent, whose status and output stay its own."""
    ended = machine.run(python("3.11"), program("die.py"), "fork_fault", faults)

    capture = machine.only_capture()
    assert (ended.status, ended.stdout) == (0, "before\nchild 11\n")
    assert (capture["level"], capture["instance"]["name"]) == ("NATIVE", Path(python("3.11")).name)
    assert capture["instance"]["parent"]["pid"] != capture["instance"]["pid"]


def test_a_child_that_leaves_with_a_status_is_seen_from_outside(machine: Machine) -> None:
    """`os._exit` in a fork, whose parent takes the wait status, is told by the kernel all the same."""
    machine.run(python("3.11"), program("die.py"), "fork_exit")

    report = machine.only_report()
    assert (report["exit"]["status"], report["level"]) == (9, "OUTSIDE")


def test_a_program_keeps_its_own_faulthandler(machine: Machine) -> None:
    """A program that enables faulthandler itself sees its text on its stderr, and the crash is NATIVE."""
    script = "import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)\n"
    bare = machine.run(python("3.11"), "-c", script, run=False)
    watched = machine.run(python("3.11"), "-c", script)

    def told(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(("diag: ", "Current thread"))]

    assert machine.only_capture()["level"] == "NATIVE"
    assert told(watched.stderr) == told(bare.stderr)


@pytest.mark.parametrize("flag", ["-I", "-S", "-E"])
def test_an_interpreter_without_the_probe_is_seen_from_outside(machine: Machine, flag: str) -> None:
    """Where no probe can be injected the death is seen from outside, and the record says that the probe is absent."""
    ended = machine.run(python("3.11"), flag, "-c", "import os; os.abort()")

    report = machine.only_report()
    assert (ended.status, report["level"]) == (134, "OUTSIDE")
    assert any("probe" in missing["reason"] and "absent" in missing["reason"] for missing in report["incomplete"])


def test_the_tail_of_stderr_is_kept_and_redacted(machine: Machine) -> None:
    """The last lines of stderr are in the record of a death that only the parent sees; secrets in them are not."""
    script = (
        "import os, sys; sys.stderr.write('password=hunter2hunter2\\nlast words\\n'); sys.stderr.flush(); os._exit(5)"
    )
    machine.run(python("3.11"), "-c", script)

    tail = machine.only_report()["stderrTail"]
    assert "last words" in tail
    assert "hunter2" not in tail
