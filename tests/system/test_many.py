"""`diag agent`: many instances at once, none of them its child."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from instances import DIAG, Machine, program
from joined import get, hook, joining, place, say_ready, start_agent, start_web, stop
from machine import TIMEOUT_S, missing, python

NOBODY = 65534


def until(happened: Callable[[], object]) -> None:
    """Wait until it has happened, TIMEOUT_S at most."""
    end = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def join(
    machine: Machine, *arguments: str, env: Mapping[str, str] | None = None, **popen: Any
) -> subprocess.Popen[str]:
    """A program that joins the agent."""
    command = (python("3.11"), program("die.py"), *arguments)
    return machine.start(*command, run=False, env={**joining(machine), **(env or {})}, **popen)


def ended(process: subprocess.Popen[str], told: str | None = None) -> int:
    """Wait for its end; returns the status as subprocess says it."""
    process.communicate(told, timeout=TIMEOUT_S)
    return process.returncode


def levels(machine: Machine) -> Counter[tuple[str, int]]:
    """(level, pid) of each record."""
    return Counter((one["level"], one["instance"]["pid"]) for one in machine.captures())


def boxes(machine: Machine) -> list[Path]:
    """The black boxes of instances that the agent has taken to their folders."""
    return list((machine.home / "run/diag").glob("*/bb/*.*.bb"))


def test_every_end_of_a_joined_instance_is_recorded_once(machine: Machine, faults: str) -> None:
    """Native crash, exception, SIGKILL and an exit: one record each, as rich as it can be; and nothing is changed."""
    named = machine.start("sleep", "1000", run=False)
    agent = start_agent(machine, "--watch", str(named.pid))
    dying = {way: join(machine, way, faults) for way in ("null", "raise", "kill", "_exit", "term", "fine")}

    status = {way: ended(process) for way, process in dying.items()}
    named.kill()
    named.wait(TIMEOUT_S)
    stop(agent)

    assert status == {
        "null": -signal.SIGSEGV,
        "raise": 1,
        "kill": -signal.SIGKILL,
        "_exit": 7,
        "term": -signal.SIGTERM,
        "fine": 0,
    }
    wanted = {"null": "NATIVE", "raise": "FULL", "kill": "OUTSIDE", "_exit": "OUTSIDE", "term": "EVENT"}
    pids = {way: process.pid for way, process in dying.items()}
    assert levels(machine) == Counter([*((level, pids[way]) for way, level in wanted.items()), ("OUTSIDE", named.pid)])
    reports = {one["instance"]["pid"]: machine.report_of(one) for one in machine.captures()}
    assert reports[pids["null"]]["signal"]["name"] == "SIGSEGV"
    assert reports[pids["raise"]]["exception"]["type"] == "KeyError"
    assert reports[pids["kill"]]["exit"]["signal"] == "SIGKILL"
    gaps = reports[named.pid]["incomplete"]
    assert any("probe absent" in gap["reason"] for gap in gaps)
    assert any("not the instance's parent" in gap["reason"] for gap in gaps)
    assert len({one["instance"]["instance_id"] for one in machine.captures()}) == 6
    assert [path.name for path in (machine.home / "run/diag").iterdir() if path.name != "spool"] == ["agent"]


def test_thirty_at_once(machine: Machine) -> None:
    """With --once the agent ends with the last of them, when each has its record."""
    agent = start_agent(machine, "--once")
    waiting = [join(machine, "wait_then_exit", stdin=subprocess.PIPE) for _ in range(30)]
    for process in waiting:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["before\n", "ready\n"]
    until(lambda: len(boxes(machine)) == 30)

    killed, leaving = waiting[:15], waiting[15:]  # of more that die in the same way some are only counted
    for process in killed:
        process.kill()
        ended(process)
    for process in leaving:
        ended(process, "go\n")

    agent.communicate(timeout=TIMEOUT_S)
    assert agent.returncode == 0
    wanted = [*(("OUTSIDE", one.pid) for one in killed), *(("EVENT", one.pid) for one in leaving)]
    assert levels(machine) == Counter(wanted)


def test_workers_belong_to_the_instance_that_started_them(machine: Machine, faults: str) -> None:
    """A child that dies is recorded as one of its parent's instance, which lives on."""
    agent = start_agent(machine)
    process = join(machine, "fork_fault", faults)
    assert ended(process) == 0
    stop(agent)

    found = machine.only_capture()
    assert found["level"] == "NATIVE"
    assert found["instance"]["parent"]["pid"] == process.pid


def test_names_and_labels_are_the_instances_own(machine: Machine) -> None:
    """What stands in its environment says what it is called; and `diag ps` and `diag report` find it by that."""
    agent = start_agent(machine)
    variables = {
        "DIAG_NAME": "shop\n",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=web,k8s.pod.name=web-1,other=x",
        "DIAG_LABELS": "zone=b",
    }
    process = join(machine, "wait", env=variables)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["before\n", "ready\n"]
    until(lambda: boxes(machine))

    (row,) = (row for row in json.loads(machine.diag("ps", "--json").stdout) if row["pid"] == process.pid)
    report = json.loads(machine.diag("report", "shop?", "--json").stdout)
    process.kill()
    ended(process)
    stop(agent)

    assert (row["instance"], row["service"], row["probe"]) == ("shop?", "web", "linked")
    assert report["header"]["processId"] == process.pid
    (found,) = (one["instance"] for one in machine.captures() if one["kind"] == "crash")
    assert (found["name"], found["service"]) == ("shop?", "web")
    assert found["labels"] == {"zone": "b", "k8s.pod.name": "web-1"}


def test_what_print_env_prints_is_all_it_takes(machine: Machine) -> None:
    """A shell that evaluates it starts Pythons that join; what was on PYTHONPATH stays."""
    agent = start_agent(machine)
    script = (
        'export PYTHONPATH=/somewhere; eval "$("$@" agent --print-env)"; '
        f"exec {python('3.11')} -c 'import os, sys; print(sys.path[1]); sys.stdout.flush(); os._exit(5)'"
    )
    done = machine.run("sh", "-c", script, "sh", *DIAG, run=False)
    stop(agent)

    assert (done.status, done.stdout) == (5, "/somewhere\n")
    assert machine.only_capture()["instance"]["pid"]


def test_a_killed_agent_harms_nobody_and_the_next_one_goes_on(machine: Machine, faults: str) -> None:
    """Who dies meanwhile dies at once and is recorded once, by the next agent; who lives is watched on."""
    agent = start_agent(machine)
    gone, faulted, stays = (join(machine, "wait_then_fault", faults, stdin=subprocess.PIPE) for _ in range(3))
    until(lambda: len(boxes(machine)) == 3)
    agent.kill()
    agent.wait(TIMEOUT_S)
    gone.kill()
    assert (ended(gone), ended(faulted, "go\n")) == (-signal.SIGKILL, -signal.SIGSEGV)

    agent = start_agent(machine)
    stays.kill()
    ended(stays)
    stop(agent)

    assert levels(machine) == Counter(("OUTSIDE", process.pid) for process in (gone, faulted, stays))
    said = {one["instance"]["pid"]: machine.report_of(one)["exit"] for one in machine.captures()}
    assert said[stays.pid]["signal"] == "SIGKILL"
    assert "was gone when it ended" in said[gone.pid]["evidence"][0]
    assert boxes(machine) == []


def test_an_instance_with_requests_joins_the_next_agent(machine: Machine) -> None:
    """What it noted while nobody listened is recorded once, and from its next request on it is linked again."""
    agent = start_agent(machine)
    server, port = start_web(machine)
    assert get(port, "/fail") == 500
    until(lambda: len(machine.captures()) == 1)
    until(lambda: list((machine.home / "run/diag").glob("*/bb/*.read")))
    agent.kill()
    agent.wait(TIMEOUT_S)
    assert get(port, "/fail") == 500  # nobody hears this

    agent = start_agent(machine)
    hook(machine, "--deadline", "50")
    assert len(machine.captures()) == 2
    assert get(port, "/fail") == 500
    hook(machine, "--deadline", "50")
    assert len(machine.captures()) == 3
    server.send_signal(signal.SIGSEGV)
    assert ended(server) == -signal.SIGSEGV
    stop(agent)

    assert [one["level"] for one in machine.captures()] == ["EVENT", "EVENT", "EVENT", "NATIVE"]
    assert {one["instance"]["instance_id"] for one in machine.captures()} == {
        machine.captures()[0]["instance"]["instance_id"]
    }


def test_a_second_agent_is_refused(machine: Machine) -> None:
    """One serves at a place; the other says so and takes nothing away."""
    agent = start_agent(machine)
    second = machine.diag("agent")
    process = join(machine, "_exit")
    ended(process)
    stop(agent)

    assert (second.status, "serves at" in second.stderr) == (1, True)
    assert levels(machine) == Counter([("OUTSIDE", process.pid)])


HOSTILE = """
import os, socket, sys
from marshal import dumps
path = os.environ["DIAG_PROBE_SOCKET"]
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(path)
said = [b"\\x01", b"\\x01garbage", b"\\x01" + dumps({"box": "../../x"}), b"\\x01" + dumps({"box": 7}), b"\\x03",
        b"\\x05" + dumps((1, 9, [])), b"\\x05" + dumps((int(sys.argv[1]), 9, [])), b"\\x04" + dumps(1), b"\\x0f",
        b"\\x02"]
link.setblocking(False)
for turn in range(20000):
    try:
        link.send(said[turn % len(said)])
    except BlockingIOError:
        pass
print("ready", flush=True)
sys.stdin.readline()
link.setblocking(True)
link.send(b"Fatal Python error: Segmentation fault")
os._exit(3)
"""


def test_a_hostile_instance_harms_no_other(machine: Machine) -> None:
    """Whatever it sends, others are served, nobody else is watched because of it, and it has one record itself."""
    agent = start_agent(machine)
    other = join(machine, "wait")
    until(lambda: boxes(machine))
    bare = {"PYTHONPATH": "", "DIAG_PROBE_SOCKET": joining(machine)["DIAG_PROBE_SOCKET"]}
    command = (python("3.11"), "-S", "-c", HOSTILE, str(other.pid))
    hostile = machine.start(*command, run=False, env=bare, stdin=subprocess.PIPE)
    say_ready(hostile)

    assert hook(machine, "--deadline", "50")["instances"] == 2
    ended(hostile, "\n")
    other.kill()
    ended(other)
    stop(agent)

    assert Counter(one["instance"]["pid"] for one in machine.captures()) == Counter([hostile.pid, other.pid])
    (report,) = (machine.report_of(one) for one in machine.captures() if one["instance"]["pid"] == other.pid)
    assert report["exit"]["sender"] is None


BECOMES_NOBODY = f"""
import os, sys, time
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(6)
print("ready", flush=True)
os.wait()
try:
    print(os.listdir(os.path.dirname(os.environ["DIAG_PROBE_SOCKET"]) + "/bb"))
except PermissionError:
    print("not listed")
"""


def test_other_users_may_join_an_agent_of_root(machine: Machine) -> None:
    """Their black boxes are their own, and they can see nobody else's."""
    if os.geteuid() != 0:
        missing("Other users need root.")
    agent = start_agent(machine)
    for folder in (machine.home, machine.home / "run"):
        folder.chmod(0o711)
    process = machine.start(
        python("3.11"), "-c", BECOMES_NOBODY, run=False, env=joining(machine), stdin=subprocess.PIPE
    )
    say_ready(process)
    until(lambda: len(boxes(machine)) == 2)
    (box,) = (box for box in boxes(machine) if not box.name.startswith(f"{process.pid}."))
    shared = place(machine) / "bb"

    assert (box.stat().st_uid, box.stat().st_mode & 0o777) == (NOBODY, 0o600)
    assert (shared.stat().st_mode & 0o7777, box.parent.parent.stat().st_mode & 0o777) == (0o1733, 0o700)
    stdout, _ = process.communicate("\n", timeout=TIMEOUT_S)
    stop(agent)
    assert stdout == "not listed\n"
    assert machine.only_report()["exit"]["status"] == 6


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--http", "0.0.0.0:80"), "no address of the loopback"),
        (("--watch", "nobody-of-this-name"), "no instance or container"),
        (("--socket", "/proc/s"), "agent"),
    ],
)
def test_what_cannot_be_served_is_refused(machine: Machine, flags: tuple[str, ...], sentence: str) -> None:
    """Before anybody is watched, with a sentence and what to do."""
    refused = machine.diag("agent", *flags)

    assert refused.status in (1, 2, 3)
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link, pytest.raises(OSError):
        link.connect(str(place(machine) / "s"))
