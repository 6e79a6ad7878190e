"""A `diag agent`, and programs that join it by themselves."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from instances import DIAG, Machine, program
from machine import TIMEOUT_S, python


def place(machine: Machine) -> Path:
    """The folder where instances join."""
    return machine.home / "run/diag/agent"


def joining(machine: Machine, folder: Path | None = None) -> dict[str, str]:
    """The two variables by which a Python joins; with the folder as the program sees it."""
    folder = folder or place(machine)
    return {"PYTHONPATH": str(folder / "probe"), "DIAG_PROBE_SOCKET": str(folder / "s")}


def start_agent(machine: Machine, *flags: str, by: Sequence[str] = (), **popen: Any) -> subprocess.Popen[str]:
    """A `diag agent` that serves by now."""
    agent = machine.start(*by, *DIAG, "agent", *flags, run=False, stdout=subprocess.DEVNULL, **popen)
    wait_until_it_serves(agent)
    return agent


def wait_until_it_serves(agent: subprocess.Popen[str]) -> None:
    """Wait for the line that says so."""
    assert agent.stderr is not None
    said = []
    for line in agent.stderr:
        said.append(line)
        if line.startswith("diag: this agent serves at "):
            return
    raise AssertionError("".join(said))


def stop(agent: subprocess.Popen[str]) -> str:
    """End it as a system does; everything is recorded and stored then. Returns what it has said."""
    agent.send_signal(signal.SIGTERM)
    _, stderr = agent.communicate(timeout=TIMEOUT_S)
    assert agent.returncode == 0, stderr
    return stderr


def hook(machine: Machine, *flags: str) -> dict[str, Any]:
    """What `diag flush --agent` answers."""
    said = machine.diag("flush", "--agent", str(place(machine)), "--json", *flags)
    assert said.stdout, said.stderr
    return json.loads(said.stdout)


def say_ready(process: subprocess.Popen[str]) -> None:
    """Wait for the line by which the program says that it runs."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def get(port: int, path: str) -> int:
    """The status of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status


def start_web(machine: Machine, **popen: Any) -> tuple[subprocess.Popen[str], int]:
    """A WSGI server that has joined, and its port; `/fail` raises."""
    server = machine.start(python("3.11"), program("web_wsgi.py"), run=False, env=joining(machine), **popen)
    assert server.stdout is not None
    return server, int(server.stdout.readline())
