"""`diag profile` of Node and Go: they sample themselves, and stay as they were."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from machine import PROGRAMS, TIMEOUT_S, missing, need

from diag.collectors import sockets
from diag.profiles import formats, tables
from diag.profiles.model import Profile

DIAG = [sys.executable, "-m", "diag"]
Start = Callable[..., subprocess.Popen[str]]
A_PROFILE = 2500  # bytes: all other answers of the inspector together have half as many


@pytest.fixture
def node(begin: Start) -> Callable[..., subprocess.Popen[str]]:
    """A Node that computes, with its inspector at a port of its own when it is opened.

    It puts no function into another, because V8 names such only in code that it compiled while it was profiled.
    """
    apart, program = "--max-inlined-bytecode-size=0", str(PROGRAMS / "profiled_live.js")
    return lambda *options, **more: begin(need("node"), apart, *(options or ("--inspect-port=0",)), program, **more)


def profile(home: Path) -> Profile:
    """The only profile that was kept."""
    (path,) = home.rglob("store/v1/**/profile.pb.gz")
    return formats.read(path.read_bytes())


def hottest(one: Profile) -> str:
    """The function with the most own samples."""
    return tables.top(tables.by_function(one, one.column()), 1)[0][0].name.rpartition(".")[2]


def share(one: Profile, name: str) -> float:
    """Which part was spent in the function, also where Go's runtime has interrupted it there, as it does under load."""
    found = tables.by_function(one, one.column())
    return sum(row.total for function, row in found.items() if function.name.endswith(f".{name}")) / one.total(
        one.column()
    )


def manifest(home: Path) -> dict[str, Any]:
    """The only manifest."""
    (path,) = home.rglob("store/v1/**/manifest.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def works_on(child: subprocess.Popen[str]) -> bool:
    """Whether it uses the CPU: a debugger that pauses it would keep it from that."""

    def used() -> int:
        return int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11])

    before, until = used(), time.monotonic() + TIMEOUT_S
    while used() <= before + 5 and time.monotonic() < until:
        time.sleep(0.01)
    return used() > before + 5


def test_unprepared_node(node: Callable, diag: Callable, home: Path) -> None:
    """The function that computes is the hottest, and the inspector is closed again."""
    child = node()

    answer = diag("profile", str(child.pid), "-d", "2")

    assert answer.returncode == 0, answer.stderr
    one = profile(home)
    assert hottest(one) == "hottest"
    assert {frame.file for frame in one.frames if frame.function == "turn"} == {str(PROGRAMS / "profiled_live.js")}
    assert "three lines to its stderr" in answer.stderr
    assert sockets.listening(child.pid) == []
    assert works_on(child)
    assert manifest(home)["cost"]["pause_s"] > 0


def test_node_twice(node: Callable, diag: Callable, home: Path) -> None:
    """The inspector opens and closes as often as it is needed."""
    child = node()

    for _ in range(2):
        assert diag("profile", str(child.pid), "-d", "1").returncode == 0

    assert sockets.listening(child.pid) == []
    assert works_on(child)


def test_node_whose_inspector_is_open(node: Callable, diag: Callable, home: Path) -> None:
    """It is used, no signal is sent, and it stays open."""
    child = node("--inspect=127.0.0.1:0")
    (before,) = sockets.listening(child.pid)

    answer = diag("profile", str(child.pid), "-d", "1")

    assert answer.returncode == 0, answer.stderr
    assert "open already" in answer.stderr
    assert sockets.listening(child.pid) == [before]
    assert works_on(child)


def test_node_at_the_end_of_whose_patience(node: Callable, home: Path) -> None:
    """Ctrl-C keeps what there is and closes the inspector."""
    child = node()
    command = [*DIAG, "profile", str(child.pid), "-d", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    gave_a_slice(child)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, stderr
    assert hottest(profile(home)) == "hottest"
    assert sockets.listening(child.pid) == []
    assert works_on(child)


def test_node_that_ends_meanwhile(node: Callable, home: Path) -> None:
    """What V8 gave out before is kept, and the capture says what is missing."""
    child = node()
    command = [*DIAG, "profile", str(child.pid), "-d", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    gave_a_slice(child)

    child.kill()
    _, stderr = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, stderr
    assert "ended while it was captured" in stderr
    assert len(profile(home)) > 0


def gave_a_slice(child: subprocess.Popen[str]) -> None:
    """Wait until V8 has given out a slice of its profile: the program itself writes nothing."""
    until = time.monotonic() + 2 * TIMEOUT_S

    def written() -> int:
        return int(re.search(r"wchar: (\d+)", Path(f"/proc/{child.pid}/io").read_text())[1])  # type: ignore[index]

    before = written()
    while written() < before + A_PROFILE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_node_that_the_signal_would_end(begin: Start, diag: Callable, home: Path) -> None:
    """Where SIGUSR1 is not caught it is not sent: exit 2, and the process lives."""
    program = home / "node"  # the name is all that tells; the real one catches the signal as a rule
    program.write_bytes(Path(need("sleep")).read_bytes())
    program.chmod(0o755)
    child = begin("/bin/sh", "-c", f"echo ready; exec {program} 1000")
    until = time.monotonic() + TIMEOUT_S
    while Path(f"/proc/{child.pid}/exe").readlink() != program and time.monotonic() < until:
        time.sleep(0.01)

    answer = diag("profile", str(child.pid), "--engine", "node", "-d", "1")

    assert answer.returncode == 2
    assert "SIGUSR1" in answer.stderr
    assert child.poll() is None


def test_node_whose_port_is_taken(node: Callable, diag: Callable) -> None:
    """Where somebody else listens at its port, it is not signalled: exit 2 with what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        child = node(f"--inspect-port={taken.getsockname()[1]}")

        answer = diag("profile", str(child.pid), "--engine", "node", "-d", "1")

    assert answer.returncode == 2
    assert "--inspect-port=0" in answer.stderr
    assert works_on(child)


def test_node_by_perf(node: Callable, diag: Callable, home: Path) -> None:
    """perf names JavaScript where Node writes its map."""
    need("perf")
    child = node("--perf-basic-prof", "--interpreted-frames-native-stack", cwd=home)
    try:
        answer = diag("profile", str(child.pid), "-d", "2", "--engine", "perf")
    finally:
        Path(f"/tmp/perf-{child.pid}.map").unlink(missing_ok=True)

    assert answer.returncode == 0, answer.stderr
    one = profile(home)
    found = tables.by_frame(one, one.column(), lambda frame: frame.function)
    assert found["hottest"].total > 0.5 * one.total(one.column())
    assert any(frame.file.endswith("profiled_live.js") and frame.line for frame in one.frames)


def test_go_that_serves_its_profiles(begin: Start, go_program: Path, diag: Callable, home: Path) -> None:
    """Its own profile is kept, of the time that was asked for."""
    child = begin(go_program)

    answer = diag("profile", str(child.pid), "-d", "3")

    assert answer.returncode == 0, answer.stderr
    assert "/debug/pprof/" in answer.stderr
    one = profile(home)
    assert share(one, "hottest") > 0.5
    assert one.column("cpu") == one.column()
    assert one.recording.rate_hz == 100
    assert one.duration_ns > 2e9


def test_go_that_is_profiled_already(begin: Start, go_program: Path, diag: Callable, home: Path) -> None:
    """Go takes one profile at a time: the second is refused in a sentence."""
    child = begin(go_program)
    (address,) = sockets.listening(child.pid)
    with closing(http.client.HTTPConnection(address.host, address.port)) as other:
        other.request("GET", "/debug/pprof/profile?seconds=600")
        until = time.monotonic() + TIMEOUT_S
        while True:
            answer = diag("profile", str(child.pid), "-d", "1")
            if answer.returncode or time.monotonic() > until:
                break

    assert answer.returncode == 1
    assert "one CPU profile at a time" in answer.stderr


def test_go_without_the_package(begin: Start, diag: Callable, tmp_path: Path) -> None:
    """The refusal says which line is missing."""
    source = (PROGRAMS / "profiled_live.go").read_text().replace('\t_ "net/http/pprof"\n', "")
    (tmp_path / "bare.go").write_text(source)
    environment = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run([need("go"), "build", "-o", tmp_path / "bare", tmp_path / "bare.go"], check=True, env=environment)
    child = begin(tmp_path / "bare")

    answer = diag("profile", str(child.pid), "--engine", "go", "-d", "1")

    assert answer.returncode == 2
    assert 'import _ "net/http/pprof"' in answer.stderr


def test_go_in_another_network(begin: Start, go_program: Path, diag: Callable, home: Path) -> None:
    """A program in a network namespace of its own is reached there."""
    unshare = need("unshare")
    try:
        child = begin(unshare, "--net", "/bin/sh", "-c", f"ip link set lo up 2>/dev/null || true; exec {go_program}")
    except AssertionError:
        missing("this user may not make a network namespace")
    up = subprocess.run(["nsenter", "-t", str(child.pid), "-n", sys.executable, "-c", UP], check=False)
    if up.returncode:
        missing("the loopback interface of a new network namespace cannot be set up here")

    answer = diag("profile", str(child.pid), "-d", "1")

    assert answer.returncode == 0, answer.stderr
    assert share(profile(home), "hottest") > 0.5


# Sets `lo` up, for where `ip` is not installed: netdevice(7), SIOCSIFFLAGS with IFF_UP.
UP = """
import fcntl, socket, struct
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 1))
"""
