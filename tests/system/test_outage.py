"""Everything is down, the machine is rebooted, and the capture is in the viewer when all of it is back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import viewers
from instances import Machine
from machine import TIMEOUT_S, python
from ports import reserved_port

CRASH = "raise ValueError('no price for sku-77')"


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on, until a viewer does."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def machine(machine: Machine, port: int) -> Iterator[Machine]:
    """A machine whose captures go to the viewer that is to listen there."""
    machine.environment["DIAG_STORE"] = f"http://127.0.0.1:{port}"
    yield machine
    _kill_all(machine.home)


def _kill_all(home: Path) -> None:
    """Kill -9 of every process that lives in this home, also of what was left behind to deliver, until none is left."""
    until = time.monotonic() + TIMEOUT_S
    while pids := _living_in(home):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < until, f"{pids} do not end"
        time.sleep(0.01)


def _living_in(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            others = entry.name.isdigit() and int(entry.name) != os.getpid()
            if others and f"XDG_RUNTIME_DIR={home / 'run'}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def _reboot(machine: Machine) -> None:
    """Nothing runs any more, what was in memory is gone, and the disk is as it was."""
    _kill_all(machine.home)
    shutil.rmtree(machine.home / "run")


@pytest.mark.parametrize("next_diag", ["flush", "run"])
def test_a_capture_made_while_everything_was_down_is_in_the_viewer_when_it_is_back(
    machine: Machine, port: int, next_diag: str
) -> None:
    """Viewer down, crash, power gone, viewer back: the next diag, whichever it is, delivers, and the page shows it."""
    ended = machine.run(python("3.11"), "-c", CRASH)
    waits = machine.diag("flush", "--json")
    _reboot(machine)

    with viewers.running(machine.home / "viewer", "--port", str(port)) as viewer:
        if next_diag == "flush":
            assert machine.diag("flush").status == 0
        else:
            assert machine.run(python("3.11"), "-c", "raise SystemExit(3)").status == 3
        capture_id = _delivered(viewer)
        page = viewer.get(f"captures/{capture_id}").text
        overview = viewer.get("").text

    assert (ended.status, waits.status) == (1, 5)
    assert "no price for sku-77" in page
    assert "no price for sku-77" in overview


def test_a_death_whose_agent_was_killed_too_is_in_the_viewer_when_it_is_back(machine: Machine, port: int) -> None:
    """Viewer down, agent killed, program dies: the next diag finds its black box, and delivers it."""
    program = f"print('ready', flush=True); input(); {CRASH}"
    process = machine.start(python("3.11"), "-c", program, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    _wait_for(lambda: any((machine.home / "run").glob("diag/*/instance.json")))  # the agent has said whom it watches
    process.kill()
    process.wait(TIMEOUT_S)
    process.communicate("go\n", timeout=TIMEOUT_S)

    with viewers.running(machine.home / "viewer", "--port", str(port)) as viewer:
        assert machine.diag("flush").status == 0
        page = viewer.get(f"captures/{_delivered(viewer)}").text

    assert "no price for sku-77" in page


def _wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def _delivered(viewer: viewers.Running) -> str:
    """The id of the one crash that the viewer lists, as soon as it lists it."""
    until = time.monotonic() + TIMEOUT_S
    while not (rows := viewer.get("api/v1/captures?kind=crash").json()["captures"]):
        assert time.monotonic() < until, "it was not delivered in time"
        time.sleep(0.05)
    (row,) = rows
    return str(row["capture_id"])
