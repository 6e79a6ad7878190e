"""Instances in containers, found by what engines and the kernel say of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from containers import PODMAN, PYTHON, Podman
from machine import TIMEOUT_S, need

from diag.agent import containers, docker_api
from diag.agent.containers import Containers
from diag.errors import UsageError


def test_by_name_by_id_and_by_a_pid_inside(podman: Podman, diag: Callable, unique: str, wait_for: Callable) -> None:
    """A name, the start of an id and CONTAINER:PID lead to the processes, as this machine counts them."""
    pid = podman.run(unique, PYTHON, "-c", "import os, time; os.fork(); time.sleep(10000)")
    whole = podman.inspect(unique)["Id"]
    wait_for(Path(f"/proc/{pid}/task/{pid}/children").read_text)
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    inside = containers.inside_pid(child)
    assert inside not in (1, child)

    seen = {
        text: json.loads(diag("report", text, "--json").stdout)["header"]["processId"]
        for text in (unique, whole, whole[:12], f"{unique}:1", f"{whole[:12]}:{inside}")
    }

    assert list(seen.values()) == [pid, pid, pid, pid, child]


def test_report_and_doctor_look_inside(podman: Podman, diag: Callable, unique: str) -> None:
    """The runtime is the container's own, not this machine's, also where ids are mapped; the labels name it."""
    podman.run(unique, options=("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"))

    report = json.loads(diag("report", unique, "--json").stdout)
    doctor = json.loads(diag("doctor", unique, "--json").stdout)

    assert report["instance"]["runtime"].startswith("python 3.8.")
    assert report["instance"]["labels"]["container.name"] == unique
    checks = {check["name"]: check for check in doctor["checks"]}
    assert checks["runtime"]["what"].startswith("python 3.8.")
    assert checks["exec"]["outcome"] == "works"
    assert "user" in checks["exec"]["what"]


def test_memory_of_a_container(podman: Podman, diag: Callable, unique: str) -> None:
    """Its mappings are read from here, with the paths that it has itself."""
    podman.run(unique)

    found = json.loads(diag("memory", unique, "--json").stdout)

    assert found["engine"] == "smaps"
    assert any("python3.8" in group["name"] for group in found["mappings"]["groups"])


def test_ps_names_the_container(podman: Podman, diag: Callable, unique: str) -> None:
    """Each process says in which container it runs; the table has a column for it."""
    pid = podman.run(unique)

    rows = {row["pid"]: row for row in json.loads(diag("ps", "--json").stdout)}

    assert rows[pid]["container"] == {"id": podman.inspect(unique)["Id"], "name": unique}
    assert "CONTAINER" in diag("ps").stdout.splitlines()[0]
    assert any(unique in line and str(pid) in line for line in diag("ps").stdout.splitlines())


def test_init_stands_aside(podman: Podman, diag: Callable, unique: str) -> None:
    """Where the first process is an init, the one that it started is meant."""
    pid = podman.run(unique, options=("--init",))
    report = json.loads(diag("report", unique, "--json").stdout)
    assert Path(f"/proc/{pid}/comm").read_text() in ("catatonit\n", "podman-init\n")
    assert report["header"]["commandLine"][0] == PYTHON


def test_nobody_and_several(podman: Podman, diag: Callable, unique: str) -> None:
    """A container that is not there, a pid that is not in it, and a name that fits several are each said plainly."""
    podman.run(unique)
    gone = diag("report", f"{unique}-gone")
    absent = diag("report", f"{unique}:4000000")
    assert (gone.returncode, absent.returncode) == (1, 1)
    assert "no instance or container is called" in gone.stderr
    assert f"no process has the pid 4000000 in the container {unique}" in absent.stderr


def test_docker_api(podman: Podman, unique: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman's Docker-compatible API tells the names and the first processes."""
    pid = podman.run(unique)
    path = home / "api.sock"
    service = subprocess.Popen([*PODMAN, "system", "service", "--time", "0", f"unix://{path}"])
    try:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        found: dict[str, str] = {}
        until = time.monotonic() + TIMEOUT_S
        while unique not in found:  # it listens before it answers, and a busy one may answer too late to be heard
            assert service.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
            found = {one.name: one.container_id for one in docker_api.running()}
        assert found[unique] == podman.inspect(unique)["Id"]
        assert docker_api.pid_of(found[unique]) == pid
    finally:
        service.terminate()
        service.wait(TIMEOUT_S)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n{", b'HTTP/1.1 200 OK\r\n\r\n[[], 3, {"Id": 4}]', b"x" * 99]
)
def test_an_api_that_talks_nonsense(home: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """What answers nonsense on a socket is one source less."""
    path = home / "api.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()

        def serve() -> None:
            link, _ = door.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setattr(docker_api, "SYSTEM_SOCKETS", ())
        assert list(docker_api.running()) == []
        thread.join(TIMEOUT_S)


@pytest.fixture
def by_hand(wait_for: Callable) -> Iterator[Callable[[str], int]]:
    """Makes a "container" with nothing but the kernel: namespaces, and a cgroup whose path carries an id."""
    need("unshare")
    top = Path("/sys/fs/cgroup/pids/docker")
    if os.geteuid() != 0 or not top.parent.is_dir():
        pytest.skip("needs root, and cgroups of version 1")
    made: list[tuple[subprocess.Popen[bytes], Path]] = []
    ours = not top.exists()

    def make(container_id: str) -> int:
        folder = top / container_id
        folder.mkdir(parents=True)
        script = f"echo 0 >{folder}/cgroup.procs; exec unshare -mpnuiU --map-root-user --fork --mount-proc sleep 10000"
        process = subprocess.Popen(["sh", "-c", script])
        made.append((process, folder))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(
            lambda: children.read_text() and b"sleep" in Path(f"/proc/{children.read_text().strip()}/comm").read_bytes()
        )
        return int(children.read_text())

    yield make
    for process, folder in made:
        for word in (folder / "cgroup.procs").read_text().split():
            os.kill(int(word), signal.SIGKILL)
        process.wait(TIMEOUT_S)
    for _, folder in made:
        wait_for(lambda folder=folder: not (folder / "cgroup.procs").read_text())
        folder.rmdir()
    if ours and made:
        with suppress(OSError):  # another run has one in there
            top.rmdir()


def test_what_the_kernel_shows_is_enough(by_hand: Callable[[str], int], diag: Callable) -> None:
    """Without any engine the id in the cgroup's path is found by its start, and so is the first process in there."""
    one, other = (f"{os.urandom(4).hex()}{word * 56}" for word in "ab")
    first = by_hand(one)
    by_hand(f"{one[:6]}{other[6:]}")

    found = Containers().find(one[:12])
    assert found is not None
    assert (found.container_id, found.pid, found.name) == (one, first, one[:12])
    assert diag("exec", "-q", one[:12], "--", "cat", "/proc/1/comm").stdout == "sleep\n"
    assert containers.process_in(found, 1) == first
    with pytest.raises(UsageError, match="2 containers") as raised:
        Containers().find(one[:6])
    assert one[:12] in str(raised.value)
