"""`diag stacks`, on live processes that must not notice it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from containers import PYTHON, Podman
from freezing import frozen
from instances import Machine
from machine import PROGRAMS, TIMEOUT_S, need
from states import States, resting

from diag.cli.main import run_command_line

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a command that says "ready"."""
    started: list[subprocess.Popen[str]] = []

    def run(*command: str | Path) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(command, text=True, **pipes)
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield run
    for child in started:
        child.kill()
        child.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def calling(wait_for: Callable[[Callable[[], object]], None]) -> Callable[..., None]:
    """Waits until a process has so many threads, and all of them rest in the kernel."""
    return lambda pid, threads: wait_for(lambda: len(resting(pid)) == threads)


def document(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that was printed."""
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert isinstance(found, dict)
    return found


def threads(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The threads of the first process at the last look, by name, with their frames."""
    seen = found["looks"][-1]["processes"][0]["threads"]
    return {thread["name"]: {**thread, "frames": found["stacks"][thread["stack"]]} for thread in seen}


def test_any_pid_is_read_and_not_disturbed(
    start: Callable, asleep: Callable, diag: Callable, home: Path, marker: Callable
) -> None:
    """Three looks at a process of nobody's: it neither stops nor wakes; each thread says where it is and what for."""
    child = start("sleeping_threads.py")
    asleep(child.pid)
    status = Path(f"/proc/{child.pid}/status")
    switches = [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    with States(child.pid) as states:
        answer = diag("stacks", str(child.pid), "--json", "-n", "3", "--every", "50ms")

    found = document(answer)
    assert (found["schema"], found["verdict"]["cause"]) == ("diag.stacks/1", "alive")
    seen = threads(found)
    assert seen["MainThread"]["frames"][0]["line"] == marker("sleeping_threads.py", "read")
    assert seen["MainThread"]["waiting"]["what"].startswith("reads from a pipe")
    assert seen["napper"]["waiting"]["what"].startswith("waits for Lock 0x")
    assert len(found["looks"]) == 3 and len(found["stacks"]) == 2
    assert states.seen == {"S"}
    assert [line for line in status.read_text().splitlines() if "ctxt_switches" in line] == switches
    output, _ = child.communicate(timeout=TIMEOUT_S)
    assert (output, child.returncode) == ("done\n", 7)
    (manifest,) = (json.loads(path.read_text()) for path in home.rglob("store/**/manifest.json"))
    assert (manifest["kind"], manifest["cost"]["pause_s"]) == ("stacks", 0)
    assert json.loads(diag("show", manifest["capture_id"][:13], "--json").stdout) == found
    shown = diag("show", manifest["capture_id"][:13], COLUMNS="80").stdout
    assert "same stack in all 3" in shown and "napper" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_equal_stacks_are_one_group(begin: Begin, diag: Callable, calling: Callable) -> None:
    """Twenty idle workers are one group, and no deadlock."""
    child = begin(sys.executable, PROGRAMS / "deadlock.py", "pool")
    calling(child.pid, 21)

    answer = diag("stacks", str(child.pid))

    assert "21 threads in 2 groups" in answer.stdout
    assert "  20 threads: " in answer.stdout
    assert "No deadlock is proved." in answer.stdout
    assert "page " in answer.stdout


def test_deadlock_is_the_first_thing_said(begin: Begin, diag: Callable, calling: Callable, home: Path) -> None:
    """The verdict stands on top and in the list; a report says the same."""
    child = begin(sys.executable, PROGRAMS / "deadlock.py", "rlocks")
    calling(child.pid, 3)

    lines = diag("stacks", str(child.pid)).stdout.splitlines()
    report = json.loads(diag("report", str(child.pid), "--json").stdout)

    assert lines[1].strip().startswith("Deadlock: ")
    assert any("which the first of them has to let go of" in line for line in lines)
    assert any("held by here (" in line for line in lines)
    assert report["verdict"]["cause"] == "deadlock"
    manifests = [json.loads(path.read_text()) for path in home.rglob("store/**/manifest.json")]
    assert any(one["title"].startswith("stacks: deadlock: ") for one in manifests)


def test_what_moves_is_told(begin: Begin, diag: Callable) -> None:
    """A thread that is somewhere else at each look is named, with where it was."""
    # At times of chance, so that no beat of the looks can have the same one each time.
    script = (
        "import random, time\ndef a(): time.sleep(random.random() / 10)\ndef b(): time.sleep(random.random() / 10)\n"
    )
    script += "print('ready', flush=True)\nwhile 1: a(); b()"
    child = begin(sys.executable, "-c", script)

    found = diag("stacks", str(child.pid), "-n", "30", "--every", "70ms").stdout

    assert "30 LOOKS" in found
    assert "moved" in found and "a:2" in found and "b:3" in found


def test_locals_and_native_are_asked_for(start: Callable, asleep: Callable, diag: Callable, home: Path) -> None:
    """They are there, redacted, and what they cost is said."""
    secrets = {**os.environ, "API_TOKEN": "planted-in-env"}
    child = start("secret_locals.py", "--password", "planted-in-argv", env=secrets)

    answer = diag("stacks", str(child.pid), "--json", "--locals", "--native")

    found = document(answer)
    assert "stops it" in answer.stderr
    frames = [frame for stack in found["stacks"] for frame in stack]
    assert {"python", "native"} == {frame["language"] for frame in frames}
    assert any(frame.get("locals") for frame in frames)
    assert "planted" not in answer.stdout
    (manifest,) = (json.loads(path.read_text()) for path in home.rglob("store/**/manifest.json"))
    assert manifest["cost"]["pause_s"] > 0 and manifest["redactions"]


def test_two_at_once(start: Callable, diag: Callable) -> None:
    """Looks are harmless, so they need not wait for each other."""
    child = start("sleeping_threads.py")
    command = [sys.executable, "-m", "diag", "stacks", str(child.pid), "-n", "20", "--every", "100ms", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        answer = diag("stacks", str(child.pid), "--json")
        output, _ = other.communicate(timeout=TIMEOUT_S)

    assert len(document(answer)["looks"]) == 1
    assert len(json.loads(output)["looks"]) == 20


def test_process_that_ends_meanwhile(start: Callable, home: Path, wait_for: Callable) -> None:
    """What was seen until then is kept, and it is said."""
    child = start("sleeping_threads.py")
    command = [sys.executable, "-m", "diag", "stacks", str(child.pid), "-n", "100", "--every", "100ms", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as looking:
        assert looking.stderr is not None
        assert looking.stderr.readline().startswith("py-spy: ")
        reads: set[str] = set()

        def looked() -> bool:
            """Whether there were more runs of py-spy than one look takes."""
            for path in Path(f"/proc/{looking.pid}/task").glob("*/children"):
                with suppress(OSError):
                    reads.update(path.read_text().split())
            return len(reads) > 6

        wait_for(looked)
        child.kill()
        child.wait(TIMEOUT_S)
        output, _ = looking.communicate(timeout=TIMEOUT_S)

    assert (looking.returncode, 1 <= len(json.loads(output)["looks"]) < 100) == (0, True)
    (manifest,) = (json.loads(path.read_text()) for path in home.rglob("store/**/manifest.json"))
    assert {"looks", "stacks"} <= {entry["section"] for entry in manifest["incomplete"]}


def test_stopped_process_stays_stopped(start: Callable, diag: Callable) -> None:
    """Its stacks are read as they stand, and nobody lets it run on."""
    child = start("sleeping_threads.py")
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)

    with States(child.pid) as states:
        found = document(diag("stacks", str(child.pid), "--json", "--locals"))
        shown = diag("stacks", str(child.pid)).stdout

    assert states.seen == {"T"}
    assert {thread["state"] for thread in threads(found).values()} == {"stopped"}
    assert threads(found)["MainThread"]["frames"]
    assert f"0 running, 0 waiting, {len(threads(found))} stopped." in found["verdict"]["sentence"]
    assert re.search(r"MainThread \(\d+\)  stopped; ", shown)
    child.send_signal(signal.SIGCONT)


def test_frozen_process_is_said_to_be_frozen(start: Callable, diag: Callable) -> None:
    """The kernel says of a frozen thread what it waited for before; that it is frozen its group says, to everybody."""
    child = start("sleeping_threads.py")

    with frozen(child.pid):
        found, report = (
            document(diag("stacks", str(child.pid), "--json")),
            json.loads(diag("report", str(child.pid), "--json").stdout),
        )

    assert {thread["state"] for thread in threads(found).values()} == {"frozen by its cgroup"}
    assert "0 running, 0 waiting" in found["verdict"]["sentence"]
    assert report["verdict"]["sentence"].startswith("It is frozen by its cgroup and does nothing")
    assert report["cgroup"]["frozen"] is True


@pytest.mark.parametrize(
    "arguments", [("-n", "0"), ("-n", "101"), ("-n", "x"), ("--every", "0s"), ("--every", "3h"), ("--every", "soon")]
)
def test_silly_values_are_refused(arguments: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """Beyond the limits it is one sentence and exit 2, before anything is looked at."""
    assert run_command_line(["stacks", str(os.getpid()), *arguments]) == 2
    assert arguments[0] in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user(start: Callable, as_nobody: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    """Another user's process is exit 3, with what would allow it."""
    child = start("sleeping_threads.py")
    assert run_command_line(["stacks", "4194304999"]) == 1  # loads what the other user may not be able to read

    def refused() -> None:
        os.environ.update(HOME="/nonexistent", XDG_RUNTIME_DIR="/nonexistent")  # ours are closed to others
        assert run_command_line(["stacks", str(child.pid)]) == 3

    as_nobody(refused)
    assert "CAP_SYS_PTRACE" in capfd.readouterr().err


def test_locks_on_files_of_two_processes(
    start: Callable, enlist: Callable, diag: Callable, wait_for: Callable, tmp_path: Path
) -> None:
    """Two processes with one thread that wait for each other's flock are a deadlock, by the kernel's own table."""
    child = start("file_locks.py", str(tmp_path))
    enlist(child.pid, "pair")
    wait_for(lambda: _waiting_for_locks(tmp_path) == 2)

    found = document(diag("stacks", "pair", "--json"))

    (ring,) = found["deadlocks"]
    assert {member["kind"] for member in ring["members"]} == {"thread", "process"}
    assert len(found["looks"][0]["processes"]) == 2
    assert all(one["threads"][0]["waiting"]["kind"] == "file lock" for one in found["looks"][0]["processes"])


def test_locks_on_files_that_a_third_has_too(
    start: Callable, enlist: Callable, diag: Callable, wait_for: Callable, tmp_path: Path
) -> None:
    """What was locked before a fork the child has too, and can let go of: then nothing is claimed."""
    child = start("file_locks.py", str(tmp_path), "shared")
    enlist(child.pid, "pair")
    wait_for(lambda: _waiting_for_locks(tmp_path) == 2)

    assert document(diag("stacks", "pair", "--json"))["deadlocks"] == []


def _waiting_for_locks(folder: Path) -> int:
    """How many wait for a lock on a file of the folder."""
    inodes = {str(path.stat().st_ino) for path in folder.iterdir()}
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum(row[1] == "->" and row[6].rpartition(":")[2] in inodes for row in rows)


def test_mutexes_of_a_native_program(begin: Begin, diag: Callable, calling: Callable, tmp_path: Path) -> None:
    """A program in C: the ring of its mutexes, who joins one of them, and with --native the frames."""
    program = tmp_path / "mutexes"
    subprocess.run([need("gcc"), "-g", "-o", program, PROGRAMS / "mutexes.c", "-lpthread"], check=True)
    need("eu-stack")
    child = begin(program)
    calling(child.pid, 3)

    found = document(diag("stacks", str(child.pid), "--json"))
    deep = document(diag("stacks", str(child.pid), "--json", "--native"))

    (ring,) = found["deadlocks"]
    assert (len(ring["members"]), found["verdict"]["confidence"]) == (2, "high")
    assert [one["id"] for one in ring["waiting"]] == [child.pid]
    assert found["engine"] == "kernel" and not any(found["stacks"])
    functions = {frame["function"] for stack in deep["stacks"] for frame in stack}
    assert {"here", "there", "take", "main"} <= functions
    assert len(deep["deadlocks"]) == 1


def test_goroutines(begin: Begin, diag: Callable, tmp_path: Path) -> None:
    """Go tells what each goroutine waits for; fifty equal ones are one group."""
    program = tmp_path / "live"
    environment = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run([need("go"), "build", "-o", program, PROGRAMS / "stacks_live.go"], check=True, env=environment)
    child = begin(program)

    answer = diag("stacks", str(child.pid))

    assert "/debug/pprof/" in answer.stderr
    assert "  50 goroutines: " in answer.stdout and "chan receive" in answer.stdout
    assert "main.(*shop).pay" in answer.stdout
    assert "writeGoroutineStacks" not in answer.stdout


def test_node_that_computes_and_node_that_waits(begin: Begin, diag: Callable) -> None:
    """The main thread's stack in the midst of a loop; and where it is idle, what keeps it alive."""
    busy = "function shop() { for (;;); }\nfunction serve() { shop() }\nconsole.log('ready'); setTimeout(serve)"
    idle = "setInterval(() => {}, 1e6); console.log('ready')"
    apart = "--max-inlined-bytecode-size=0"
    computes = begin(need("node"), apart, "--inspect-port=0", "-e", busy)
    waits = begin(need("node"), "--inspect-port=0", "-e", idle)

    found = threads(document(diag("stacks", str(computes.pid), "--json")))
    still = threads(document(diag("stacks", str(waits.pid), "--json")))

    assert "serve" in [frame["function"] for frame in found["main"]["frames"]]
    assert "waiting" not in found["main"]
    assert "Timeout" in still["main"]["waiting"]["what"]


def test_process_in_a_container(podman: Podman, diag: Callable, unique: str, calling: Callable) -> None:
    """CONTAINER:PID works, with RLocks read in another pid namespace, by numbers that are ours."""
    script = (
        "import threading, time\nlocks = [threading.RLock(), threading.RLock()]\nboth = threading.Barrier(2)\n"
        "def take(a, b):\n with a:\n  both.wait()\n  with b: pass\n"
        "for one in (locks, locks[::-1]): threading.Thread(target=take, args=one).start()\n"
        "time.sleep(1000)"
    )
    pid = podman.run(unique, PYTHON, "-c", script)
    calling(pid, 3)

    found = document(diag("stacks", f"{unique}:1", "--json"))

    (ring,) = found["deadlocks"]
    assert {member["id"] for member in ring["members"]} < {int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()}


def test_idle_server_has_no_verdict(home: Path, diag: Callable, wait_for: Callable) -> None:
    """gunicorn with threads that wait for requests, under `diag run`: all its processes, and no deadlock."""
    machine = Machine(home)
    command = [sys.executable, "-m", "gunicorn", "--threads", "4", "--no-control-socket", "--bind", f"unix:{home}/g"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = machine.start(*command, "web_wsgi:application", flags=("--name", "shop"), cwd=PROGRAMS, **quiet)
    try:
        wait_for(lambda: list((home / "run/diag").glob("*/bb/*.*.bb"))[1:])  # the worker is linked too

        found = document(diag("stacks", "shop", "--json"))
        doctor = json.loads(diag("doctor", "shop", "--json").stdout)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        machine.close()

    assert (found["verdict"]["cause"], found["deadlocks"]) == ("alive", [])
    assert len(found["looks"][0]["processes"]) >= 2
    checks = {check["name"]: check for check in doctor["checks"]}
    assert (checks["stacks py-spy"]["outcome"], checks["questions"]["outcome"]) == ("works", "works")
