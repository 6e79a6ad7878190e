"""Programs that run, instances that are registered, and the command line as a user types it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from containers import Podman, make_root
from machine import PROGRAMS, TIMEOUT_S, need
from oss_server import Key, OssServer, running
from s3_server import S3, serving_s3
from states import resting

from diag.agent import registry
from diag.agent.registry import Target

NOBODY = 65534


@pytest.fixture
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds; fails after the time limit."""

    def wait(condition: Callable[[], object]) -> None:
        until = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.002)

    return wait


@pytest.fixture
def asleep(wait_for: Callable[[Callable[[], object]], None]) -> Callable[[int], None]:
    """Waits until a process reads its standard input and all its other threads wait for a lock."""

    def is_asleep(pid: int) -> bool:
        main, *others = resting(pid) or [""]
        # x86-64 and the generic table: read is 0 or 63, futex 202 or 98.
        return main in ("0 0x0", "63 0x0") and all(call.split()[0] in ("202", "98") for call in others)

    return lambda pid: wait_for(lambda: is_asleep(pid))


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], None]], None]:
    """Runs a function in a fork of this process that is another user, without any capability."""

    def run(look: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                look()
                status = 0
            except BaseException:  # noqa: BLE001  a fork must never return into pytest
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0, "see the traceback above"

    return run


@pytest.fixture
def marker() -> Callable[[str, str], int]:
    """Finds the line of a program that carries `# MARK: name`."""

    def line_of(program: str, name: str) -> int:
        lines = (PROGRAMS / program).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# MARK: {name}"))

    return line_of


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program of tests/programs in a session of its own; returns when it has said "ready"."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: str, by: Sequence[str] = (sys.executable,), **options: Any) -> subprocess.Popen:
        command = [*by, str(PROGRAMS / program), *arguments]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield run
    for child in started:
        child.kill()
        child.communicate(timeout=TIMEOUT_S)  # also ends the standard input that its own children wait on


@pytest.fixture
def begin(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program that says "ready"; its stderr is a file of the home."""
    started: list[subprocess.Popen[str]] = []

    def run(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
        with (home / "stderr").open("wb") as errors:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, **options)
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", (home / "stderr").read_text()
        return child

    yield run
    for child in started:
        child.kill()
        child.communicate(timeout=TIMEOUT_S)


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    path = tmp_path_factory.mktemp("go") / "live"
    environment = {**os.environ, "GOCACHE": str(path.parent / "cache"), "GO111MODULE": "off"}
    command = [need("go"), "build", "-o", str(path), str(PROGRAMS / "profiled_live.go")]
    subprocess.run(command, check=True, env=environment)
    return path


@pytest.fixture
def enlist(home: Path) -> Callable[..., Target]:
    """Registers a process as an agent does; with a black box for each pid that is said to be linked."""

    def publish(pid: int, name: str, linked: tuple[int, ...] = (), **values: Any) -> Target:
        folder = home / "run" / "diag" / f"{pid:012d}"
        (folder / "bb").mkdir(parents=True, mode=0o700)
        ticks = registry.start_ticks(pid)
        assert ticks is not None
        target = Target(pid, ticks, name, name, f"id-of-{pid}", "host", run_dir=folder, **values)
        registry.publish(target)
        for member in linked:
            registry.box_path(folder, member, registry.start_ticks(member) or 0).touch()
        return target

    return publish


@pytest.fixture
def diag() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `diag` with these arguments to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "diag", *arguments]
        environment = {**os.environ, **variables}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S, check=False)

    return run


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 server that checks signatures and rights."""
    with serving_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The S3 server, with the keys to all of it in the environment."""
    for name, value in s3_server.keys.environ().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_url(s3: S3) -> str:
    """A store in a bucket of its own."""
    return s3.store_url(s3.bucket(f"b-{os.urandom(8).hex()}"), "some/where")


@pytest.fixture(scope="session")
def oss_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OssServer]:
    """An OSS server that checks signatures."""
    with running(tmp_path_factory.mktemp("oss"), {"test-key": Key("test-secret")}) as server:
        yield server


@pytest.fixture
def oss_url(oss_server: OssServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in a bucket of its own, with the key to it in the environment."""
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "test-secret")
    for name in ("OSS_SESSION_TOKEN", "OSS_REGION", "OSS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    bucket = f"b-{os.urandom(8).hex()}"
    oss_server.make_bucket(bucket)
    return f"oss://{bucket}/some/where?endpoint={oss_server.endpoint}&region={oss_server.region}"


@pytest.fixture(scope="session")
def container_roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two root folders: one with a shell and a few tools, one with nothing but a Python."""
    for tool in ("podman", "runc"):
        need(tool)
    if os.geteuid() != 0:
        pytest.skip("containers are run as root here")
    folder = Path(tempfile.mkdtemp(prefix="roots", dir="/tmp"))  # every user must be able to pass
    folder.chmod(0o755)
    yield make_root(folder / "tools", tools=True), make_root(folder / "bare", tools=False)
    shutil.rmtree(folder)


@pytest.fixture
def podman(container_roots: tuple[Path, Path]) -> Iterator[Podman]:
    """Runs containers, and removes them afterwards."""
    containers = Podman(*container_roots)
    yield containers
    containers.close()


@pytest.fixture
def unique() -> str:
    """A name that nobody else on this machine uses."""
    return f"t{os.urandom(6).hex()}"
