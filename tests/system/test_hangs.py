"""Hangs are seen before they are ended, and what only looks like one is none."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from freezing import frozen
from instances import Machine, program
from machine import TIMEOUT_S, python

LIMIT_S, STANDS_S = "6", 7.5  # a loaded machine needs some of it for the request and its answer
PATIENCE_S = 200  # gunicorn starts twice, and waits for its own time-out, on a loaded machine too


def test_what_a_worker_hung_in_is_seen_before_gunicorn_ends_it(machine: Machine, faults: str) -> None:
    """One record, of the worker's end, with two looks from before: what stood, for whom, and that nothing moved."""
    machine.environment["DIAG_HANG_AFTER"] = "1"
    served = machine.start(sys.executable, program("gunicorn_once.py"), faults, "/sleep", "8", "terminate")
    served.communicate(timeout=PATIENCE_S)

    report = machine.only_report()
    hang = report["hang"]
    assert (report["level"], report["verdict"]["cause"]) == ("FULL", "worker-timeout")
    assert (hang["cause"], hang["confidence"], hang["timeout_s"]) == ("hang", "high", 8.0)
    assert len(hang["stacks"]["looks"]) == 2
    assert [one["request_id"] for one in hang["requests"]] == ["order-1"]
    assert hang["where"].startswith("<lambda> (web_dying.py:")
    assert any("before the end: Hung: GET /sleep (request order-1)" in line for line in report["verdict"]["evidence"])


@pytest.mark.parametrize("how", ["the process is frozen", "the agent is stopped"])
def test_time_in_which_nobody_could_get_on_is_no_hang(how: str, machine: Machine) -> None:
    """A request that is older than the limit, of which most was spent frozen or unseen, is nobody's alarm."""
    machine.environment["DIAG_HANG_AFTER"] = LIMIT_S
    agent = machine.start(python("3.11"), program("hanging.py"), "child", "byte", stdin=subprocess.PIPE)
    assert agent.stdout is not None
    assert agent.stdin is not None
    port = int(agent.stdout.readline())
    with asked(port, "/byte") as connection:
        assert agent.stdout.readline() == "asked\n"
        with frozen(child_of(agent.pid)) if how == "the process is frozen" else stopped(agent.pid):
            time.sleep(STANDS_S)  # nothing tells that nothing is noticed
            assert machine.captures() == []
        agent.stdin.write("x")
        agent.stdin.flush()
        assert connection.getresponse().read() == b""
    with asked(port, "/leave"):
        agent.communicate(timeout=TIMEOUT_S)

    assert agent.returncode == 0
    assert [machine.report_of(one)["verdict"] for one in machine.captures()] == []


def asked(port: int, path: str) -> closing[http.client.HTTPConnection]:
    """A request that is under way inside the block."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", path)
    return closing(connection)


def child_of(pid: int) -> int:
    """The instance's process, by its program."""
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{line}/cmdline").read_text().split("\0")[1].endswith("hanging.py"):  # not the guard
            return int(line)
    raise AssertionError("it is not there")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still by SIGSTOP inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
