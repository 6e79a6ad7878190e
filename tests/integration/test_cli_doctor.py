"""`diag doctor`, where things work and where they do not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from freezing import frozen
from machine import need
from spooled import MIB, make_capture, put_capture

from diag import config
from diag.cli.checkup import check_machine
from diag.collectors import external
from diag.model import now
from diag.spool import Spool, id_of

MACHINE = [
    "stacks",
    "native stacks",
    "memray",
    "core stacks",
    "permission",
    "/proc",
    "exit status",
    "cgroup",
    "run folder",
    "spool",
    "second spool",
    "captures",
    "store",
    "uploader",
    "clock",
]


def checks(answer: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """The checks by name."""
    assert answer.stderr == ""
    return {check["name"]: check for check in json.loads(answer.stdout)["checks"]}


def test_machine_that_works(diag: Callable, home: Path) -> None:
    """With nothing configured all that is needed works, and no file is made on the way."""
    answer = diag("doctor", "--json")

    found = checks(answer)
    assert list(found) == MACHINE
    assert [check for check in found.values() if check["outcome"] == "broken"] == []
    assert answer.returncode == 0
    assert found["stacks"]["what"].startswith("py-spy 0.")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_table_fits_and_needs_no_colour(diag: Callable) -> None:
    """Each line says its outcome with a sign and a word; 80 columns are enough."""
    answer = diag("doctor", COLUMNS="80")

    lines = answer.stdout.splitlines()
    assert lines[0] == "this machine"
    assert [line.split()[1] for line in lines if line.startswith(("  ✓", "  –", "  ✗"))] != []
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in answer.stdout


def test_python_in_core_files(diag: Callable, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads it is there and starts, or doctor says what it is called and how it is had."""
    monkeypatch.chdir(home)
    (home / "pystack").mkdir()
    (home / "pystack/__init__.py").write_text("")  # there, and without its engine

    found = [checks(diag("doctor", "--json", **where))["core stacks"] for where in ({}, {"PYTHONPATH": str(home)})]

    assert [one["outcome"] for one in found] == ["works", "limited"]
    assert found[0]["what"].startswith("pystack 1.")
    assert "diag report --core" in found[1]["what"]
    assert "diag[cores]" in found[1]["advice"]


def test_store_that_is_down(diag: Callable) -> None:
    """A viewer that does not answer is broken, with what to do, and the exit status says so."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = diag("doctor", "--json", DIAG_STORE=f"http://127.0.0.1:{unused.getsockname()[1]}")

    store = checks(answer)["store"]
    assert store["outcome"] == "broken"
    assert "DIAG_STORE" in store["advice"]
    assert answer.returncode == 1


def test_spool_below_its_floor(diag: Callable) -> None:
    """A disk with less free space than the floor keeps nothing, and doctor says so before it matters."""
    answer = diag("doctor", "--json", DIAG_SPOOL_FLOOR_MB="99999999")

    assert checks(answer)["spool"]["outcome"] == "broken"
    assert answer.returncode == 1


@pytest.mark.parametrize("second", [{"DIAG_SPOOL_SECOND": "/proc/second"}, {"DIAG_SPOOL_SECOND_QUOTA_MB": "0"}])
def test_no_second_spool(diag: Callable, second: dict[str, str]) -> None:
    """Without a place for what the spool cannot take, doctor says so, and nothing is broken."""
    answer = diag("doctor", "--json", **second)

    assert checks(answer)["second spool"]["outcome"] == "limited"
    assert "DIAG_SPOOL_SECOND" in checks(answer)["second spool"]["advice"]
    assert answer.returncode == 0


def test_folder_that_cannot_be_written(diag: Callable) -> None:
    """A spool on /proc cannot be written, by anybody."""
    answer = diag("doctor", "--json", DIAG_SPOOL="/proc/spool")

    assert checks(answer)["spool"]["outcome"] == "broken"


def test_run_folder_with_a_long_path(diag: Callable, home: Path) -> None:
    """A run folder whose sockets would have no room for their names is found before the first instance."""
    answer = diag("doctor", "--json", DIAG_RUN_DIR=str(home / ("x" * 100)))

    found = checks(answer)["run folder"]
    assert (found["outcome"], "DIAG_RUN_DIR" in found["advice"]) == ("broken", True)


def test_without_py_spy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py-spy doctor names the command that installs it, and goes on with the other checks."""
    monkeypatch.setattr(external.sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")

    found = {check.name: check for check in check_machine(config.load())}

    assert (found["stacks"].outcome, found["stacks"].advice) == ("broken", "pip install py-spy")
    assert list(found) == MACHINE


def test_linked_instance(start: Callable, enlist: Callable, diag: Callable) -> None:
    """Of an instance under an agent everything works."""
    child = start("sleeping_threads.py")
    agent = {"agent_pid": os.getpid(), "agent_start_ticks": ticks(os.getpid())}
    enlist(child.pid, "shop", linked=(child.pid,), **agent)

    answer = diag("doctor", "shop", "--json")

    found = checks(answer)
    assert {name: found[name]["outcome"] for name in ("readable", "runtime", "probe", "agent", "state")} == {
        "readable": "works",
        "runtime": "works",
        "probe": "works",
        "agent": "works",
        "state": "works",
    }
    assert answer.returncode == 0


def test_unprepared_and_stopped_process(start: Callable, diag: Callable) -> None:
    """A process of nobody's can be read, but nobody waits for its end; a stopped one is said to be stopped."""
    child = start("sleeping_threads.py")
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    found = checks(diag("doctor", str(child.pid), "--json"))

    child.send_signal(signal.SIGCONT)
    assert {name: found[name]["outcome"] for name in ("readable", "probe", "agent", "state")} == {
        "readable": "works",
        "probe": "limited",
        "agent": "limited",
        "state": "limited",
    }
    assert "diag run" in found["probe"]["advice"]
    assert f"kill -CONT {child.pid}" in found["state"]["advice"]


def test_a_frozen_process_is_not_told_to_be_continued(start: Callable, diag: Callable) -> None:
    """No signal lets it run on; whoever froze its group does."""
    child = start("sleeping_threads.py")

    with frozen(child.pid):
        found = checks(diag("doctor", str(child.pid), "--json"))

    assert "frozen" in found["state"]["what"]
    assert "thaws" in found["state"]["advice"]
    assert "kill" not in found["state"]["advice"]


def test_process_that_is_not_python(diag: Callable) -> None:
    """Of a native program doctor says how far it is served."""
    with subprocess.Popen([need("cat")], stdin=subprocess.PIPE) as child:
        found = checks(diag("doctor", str(child.pid), "--json"))

    assert found["runtime"]["outcome"] == "limited"


def test_unknown_instance(diag: Callable) -> None:
    """A name that nobody has is one sentence and exit 1."""
    answer = diag("doctor", "nobody-has-this-name")

    assert answer.returncode == 1
    assert "nobody-has-this-name" in answer.stderr
    assert "diag ps" in answer.stderr


@pytest.mark.parametrize("command", ["report", "ps", "doctor"])
def test_help_has_examples(command: str, diag: Callable) -> None:
    """Help ends with lines that can be typed."""
    answer = diag(command, "--help")

    assert "Examples:" in answer.stdout
    assert f"  diag {command}" in answer.stdout


def ticks(pid: int) -> int:
    """A process's start time in clock ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_captures_that_are_not_stored(diag: Callable, home: Path) -> None:
    """Doctor says where every capture of this machine is, and what to do about what waits, was set aside or lost."""
    spool = Spool(home / "spool", 64 * MIB, 0)
    for _ in range(2):
        put_capture(spool)
    spool.stored(id_of(next(spool.pending())))
    stored = checks(diag("doctor", "--json", DIAG_SPOOL=str(spool.root)))["captures"]
    late, aside, lost = [put_capture(spool, make_capture(moment=now() - timedelta(minutes=11))) for _ in range(3)]
    waits = checks(diag("doctor", "--json", DIAG_SPOOL=str(spool.root)))["captures"]
    spool.quarantine(aside.capture_id, "damaged")
    spool.drop(lost.capture_id, "quota")
    answer = diag("doctor", "--json", DIAG_SPOOL=str(spool.root))

    found = checks(answer)["captures"]
    assert stored["outcome"] == "works"
    assert stored["what"].startswith("2 received: 1 stored, 1 pending (the oldest for ")
    assert (waits["outcome"], "diag flush" in waits["advice"]) == ("limited", True)
    assert found["what"] == ("5 received: 1 stored, 2 pending (the oldest for 11m), 1 quarantined, 1 dropped (1 quota)")
    assert found["outcome"] == "limited"
    assert [word for word in ("diag flush", ".reason", "DIAG_SPOOL_QUOTA_MB") if word not in found["advice"]] == []
    assert late.capture_id in set(map(id_of, spool.pending()))
    assert answer.returncode == 0
