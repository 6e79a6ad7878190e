"""The hooks of a platform that freezes and stops instances: what happened before is stored, whatever comes after."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from instances import DIAG, Machine, program
from joined import get, hook, place, start_agent, start_web, stop
from machine import TIMEOUT_S, missing, python

NOBODY = 65534
PATIENCE_S = "50"  # a hook answers as soon as all is done
VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup")


class Freezer:
    """A control group whose processes can be made to stand still."""

    def __init__(self) -> None:
        name = f"diag-test-freeze-{os.getpid()}"
        self.old = (VERSION_1 / "tasks").exists()
        if not self.old and not (VERSION_2 / "cgroup.controllers").exists():
            missing("needs control groups: a freezer of version 1, or version 2")
        self.folder = (VERSION_1 if self.old else VERSION_2) / name
        self.folder.mkdir()

    def freeze(self) -> None:
        """Return when nobody in it moves any more."""
        file = "freezer.state" if self.old else "cgroup.freeze"
        (self.folder / file).write_text("FROZEN" if self.old else "1")
        until = time.monotonic() + TIMEOUT_S
        while not self._stands():
            assert time.monotonic() < until, "it does not freeze"
            time.sleep(0.01)

    def _stands(self) -> bool:
        if self.old:
            return (self.folder / "freezer.state").read_text() == "FROZEN\n"
        return "frozen 1" in (self.folder / "cgroup.events").read_text()

    def close(self) -> None:
        """Whoever is in it dies without another step, and the group goes."""
        until = time.monotonic() + TIMEOUT_S
        while pids := (self.folder / "cgroup.procs").read_text().split():
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
            (self.folder / ("freezer.state" if self.old else "cgroup.freeze")).write_text("THAWED" if self.old else "0")
            assert time.monotonic() < until, "somebody stays in the group"
            time.sleep(0.01)
        self.folder.rmdir()


@pytest.fixture
def freezer(machine: Machine) -> Iterator[Freezer]:
    """An empty group; whoever is in it at the end is killed."""
    if os.geteuid() != 0:
        missing("Control groups need root.")
    group = Freezer()
    yield group
    group.close()


def wait_until(happened: Callable[[], object]) -> None:
    """Wait until it has happened, TIMEOUT_S at most."""
    end = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def stored(machine: Machine) -> list[dict[str, Any]]:
    """The manifests in the store; not those that wait in the spool."""
    return [json.loads(path.read_text()) for path in machine.state.glob("store/v1/**/manifest.json")]


def inside(freezer: Freezer, *command: str) -> tuple[str, ...]:
    """The command, in the group from its first step on."""
    return ("sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(freezer.folder), *command)


def call(port: int, method: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and content of what a hook answers over the loopback."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def start_agent_with_http(machine: Machine) -> tuple[subprocess.Popen[str], int]:
    """An agent with its hooks on a port of the loopback, too."""
    agent = machine.start(*DIAG, "agent", "--http", "127.0.0.1:0", run=False, stdout=subprocess.DEVNULL)
    assert agent.stderr is not None
    return agent, int(agent.stderr.readline().rpartition(":")[2])


def test_what_happened_before_a_freeze_is_stored_although_it_never_thaws(machine: Machine, freezer: Freezer) -> None:
    """An instance and its agent stand still for good after the hook, and the store has the exception."""
    agent = start_agent(machine)
    server, port = start_web(machine)
    for pid in (*children_of(agent.pid), agent.pid, server.pid):
        (freezer.folder / "cgroup.procs").write_text(str(pid))
    assert get(port, "/fail") == 500

    said = hook(machine, "--deadline", PATIENCE_S)
    freezer.freeze()

    (event,) = stored(machine)
    assert (event["level"], event["instance"]["pid"]) == ("EVENT", server.pid)
    assert (said["durable"], said["delivered"], said["received"], said["stored"]) == (True, True, 1, 1)
    assert (said["pending"], said["dropped"], said["unfinished"], said["instances"]) == (0, {}, [], 1)


def test_the_agent_of_diag_run_has_the_same_hook(machine: Machine, freezer: Freezer) -> None:
    """By the instance's name, over its own socket."""
    command = (*DIAG, "run", "--name", "shop", "--", python("3.11"), program("web_wsgi.py"))
    run = machine.start(*inside(freezer, *command), run=False)
    assert run.stdout is not None
    assert get(int(run.stdout.readline()), "/fail") == 500

    until = time.monotonic() + TIMEOUT_S
    while not (said := machine.diag("flush", "--agent", "shop", "--deadline", PATIENCE_S, "--json")).stdout:
        assert time.monotonic() < until, said.stderr  # the command runs before its agent listens
    freezer.freeze()

    assert (said.status, json.loads(said.stdout)["stored"]) == (0, 1)
    assert [event["level"] for event in stored(machine)] == ["EVENT"]


def children_of(pid: int) -> list[int]:
    """Its child processes."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_hooks_over_the_loopback(machine: Machine) -> None:
    """POST alone changes something, pages of a browser may not, and after pre-stop the agent ends with 0."""
    agent, port = start_agent_with_http(machine)
    server, web = start_web(machine)
    assert get(web, "/fail") == 500

    refused = {
        "by GET": call(port, "GET", "/pre-stop")[0],
        "from a page": call(port, "POST", "/pre-stop", Origin="http://evil.example")[0],
        "unknown": call(port, "POST", "/stop")[0],
        "no number": call(port, "POST", "/pre-freeze?deadline_s=soon")[0],
    }
    wait_until(lambda: call(port, "GET", "/health")[1]["instances"])  # not while it is busy with the exception
    health = call(port, "GET", "/health")
    frozen = call(port, "POST", f"/pre-freeze?deadline_s={PATIENCE_S}")
    stopped = call(port, "POST", f"/pre-stop?deadline_s={PATIENCE_S}")
    agent.communicate(timeout=TIMEOUT_S)
    server.kill()

    assert refused == {"by GET": 405, "from a page": 403, "unknown": 404, "no number": 400}
    assert (health[0], health[1]["instances"]) == (200, 1)
    assert (frozen[0], frozen[1]["stored"], stopped[0]) == (200, 1, 200)
    assert agent.returncode == 0
    assert len(stored(machine)) == 1


def test_a_store_that_is_down_is_said(machine: Machine) -> None:
    """What is durable and not delivered counts as pending, with the reason, and `diag flush` ends with 5."""
    agent = start_agent(machine, "--store", "http://127.0.0.1:9")
    server, web = start_web(machine)
    assert get(web, "/fail") == 500
    wait_until(machine.captures)

    asked = machine.diag("flush", "--agent", str(place(machine)), "--deadline", "3")
    said = hook(machine, "--deadline", "3")
    server.kill()
    stop(agent)

    assert asked.status == 5
    assert "pending" in asked.stdout
    assert (said["durable"], said["delivered"], said["pending"], said["stored"]) == (True, False, 1, 0)
    assert said["unfinished"]


def test_pre_stop_of_diag_flush(machine: Machine) -> None:
    """It ends `diag agent`; where nobody serves it says so."""
    agent = start_agent(machine)

    done = machine.diag("flush", "--pre-stop", "--deadline", PATIENCE_S)
    agent.communicate(timeout=TIMEOUT_S)
    nobody = machine.diag("flush", "--agent")

    assert (done.status, agent.returncode) == (0, 0)
    assert (nobody.status, "No agent answers" in nobody.stderr) == (1, True)


STRANGER = f"""
import os, socket, sys
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
for word in ("pre-freeze", "pre-stop"):
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(sys.argv[1])
        link.sendall(b"POST /%s HTTP/1.0\\r\\n\\r\\n" % word.encode())
        print(word, link.makefile().readline().split()[1])
"""


def test_a_stranger_may_not_stop_the_agent(machine: Machine) -> None:
    """An instance of another user may have everything flushed, and may not end the agent of all others."""
    if os.geteuid() != 0:
        missing("Other users need root.")
    agent = start_agent(machine)
    for folder in (machine.home, machine.home / "run"):
        folder.chmod(0o711)

    done = machine.run(python("3.11"), "-c", STRANGER, str(place(machine) / "hooks"), run=False)
    stop(agent)

    assert done.stdout == "pre-freeze 200\npre-stop 403\n"
