"""The kernel's core handler, for real: one setting of the whole machine, held for the seconds of a test.

Only the crashes of one user, whom nobody else is, are taken; whatever happens the setting is put back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core_files import core_pattern
from instances import Machine
from joined import start_agent, stop
from machine import PROGRAMS, TIMEOUT_S, missing, need
from moving import listed

from diag import config
from diag.agent import core_pattern as handler
from diag.agent.core_pattern import Options
from diag.config import Settings

UID = 61234
PYTHON = "/usr/bin/python3"


@pytest.fixture
def sysctls() -> Iterator[Path]:
    """The kernel's settings, for this test alone, and as they were afterwards."""
    if os.geteuid() != 0:
        missing("Only root may set kernel.core_pattern.")
    with core_pattern(changing=True):
        folder = handler.SYSCTL
        before = {name: (folder / name).read_text() for name in (handler.PATTERN, handler.PIPE_LIMIT)}
        try:
            (folder / handler.PATTERN).write_text(before[handler.PATTERN])
        except OSError as error:
            missing(f"kernel.core_pattern cannot be set here: {error.strerror}.")
        try:
            yield folder
        finally:
            for name, value in before.items():
                (folder / name).write_text(value)


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings of a machine of its own."""
    return config.load()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass; pytest's own are closed again by each pytest that starts on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="dg", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def die(open_folder: Path) -> Callable[..., tuple[int, int]]:
    """Runs a program as the user until it dies; returns its pid and its status."""
    folder = open_folder / "work"
    folder.mkdir()
    os.chown(folder, UID, UID)

    def run(*command: str, **options: Any) -> tuple[int, int]:
        child = subprocess.Popen(
            command, cwd=folder, user=UID, group=UID, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
        )
        return child.pid, child.wait(TIMEOUT_S)

    return run


@pytest.fixture
def dying(open_folder: Path) -> str:
    """A C program that reads a NULL pointer."""
    path = open_folder / "dying"
    subprocess.run([need("gcc"), "-g", "-O0", "-pthread", "-o", path, PROGRAMS / "dying.c"], check=True)
    path.chmod(0o755)  # whatever the umask
    return str(path)


def records(home: Path) -> list[dict[str, Any]]:
    """The reports in the spool, once the handlers have ended."""
    until = time.monotonic() + TIMEOUT_S
    while any((home / ".local/state/diag/cores").glob(".taken-*")):
        assert time.monotonic() < until, "a handler has not ended"
        time.sleep(0.02)
    return [json.loads(path.read_text()) for path in sorted(listed(home, "**/spool/pending/**/report.*.json"))]


def log(home: Path) -> str:
    """What handlers have noted."""
    path = home / ".local/state/diag/core-handler.log"
    return path.read_text() if path.exists() else ""


def logged(home: Path, pid: int) -> str:
    """What the handler of this crash has noted; it has ended then."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        found = [line for line in log(home).splitlines() if f"pid {pid}," in line]
        if found:
            return found[0]
        assert time.monotonic() < until, log(home)
        time.sleep(0.02)


def test_every_crash_has_a_record(sysctls: Path, settings: Settings, home: Path, die: Callable, dying: str) -> None:
    """A C program and a Python that nobody prepared leave one record each, with what /proc said; no core stays."""
    if not Path(PYTHON).exists():
        missing(f"{PYTHON} is not there, and others may lie where the user of this test may not go.")
    before = [(sysctls / name).read_text() for name in (handler.PATTERN, handler.PIPE_LIMIT)]
    with handler.installed(settings, Options(only_uid=UID)):
        native_pid, native_status = die(dying, env={"LANG": "C", "API_KEY": "hunter2-planted"})
        python_pid, python_status = die(PYTHON, "-c", "import ctypes; ctypes.string_at(0)")
        outcome = [logged(home, native_pid), logged(home, python_pid)]
    assert [(sysctls / name).read_text() for name in (handler.PATTERN, handler.PIPE_LIMIT)] == before

    assert (native_status, python_status) == (-signal.SIGSEGV, -signal.SIGSEGV)
    assert all("recorded as" in line for line in outcome)
    native, python = records(home)
    assert [native["header"]["processId"], python["header"]["processId"]] == [native_pid, python_pid]
    assert native["verdict"]["cause"] == python["verdict"]["cause"] == "null-dereference"
    assert native["threads"][0]["frames"][0]["function"] == "price_of"
    assert ("<module>", "python") in [(f["function"], f["language"]) for f in python["threads"][0]["frames"]]
    assert native["threads"][0]["name"] == "dying"
    assert native["header"]["cwd"].endswith("/work")
    assert native["cgroup"] and native["userLimits"]
    assert native["instance"]["start_time"]
    assert "hunter2-planted" not in json.dumps(native)
    assert native["environmentVariables"]["LANG"] == "C"
    assert not list((home / ".local/state/diag/cores").iterdir())


def test_what_an_agent_watches_has_one_record(
    sysctls: Path, settings: Settings, home: Path, dying: str, tmp_path: Path
) -> None:
    """A program under `diag run` is recorded by its agent, and by nobody else; other users' crashes are left alone."""
    machine = Machine(home)
    program = shutil.copy(PROGRAMS / "segfault.py", tmp_path / "only_here.py")
    with handler.installed(settings, Options()):
        machine.run(dying)
        machine.run(sys.executable, program, flags=("--name", "only-here"))
    with handler.installed(settings, Options(only_uid=UID)):
        other = subprocess.Popen([dying], stderr=subprocess.DEVNULL)
        other.wait(TIMEOUT_S)
        assert f"pid {other.pid}," not in log(home)  # the kernel has waited for the handler

    # Other tests' processes may have crashed meanwhile, and have records here, too.
    own = [manifest for manifest in machine.captures() if manifest["instance"]["name"] in ("dying", "only-here")]
    assert [manifest["instance"]["name"] for manifest in own] == ["dying", "only-here"]
    assert [manifest["trigger"] for manifest in own] == ["signal", "signal"]
    for manifest in own:
        assert "left to the agent that watches it" in logged(home, manifest["instance"]["pid"])


def test_an_agent_is_the_handler_until_it_ends(
    sysctls: Path, home: Path, die: Callable, dying: str, machine: Machine
) -> None:
    """`diag agent --core-pattern`: a crash of what nobody prepared is recorded, and the setting is put back."""
    before = (sysctls / handler.PATTERN).read_text()
    agent = start_agent(machine, "--core-pattern", "--core-uid", str(UID))
    assert (sysctls / handler.PATTERN).read_text().startswith(f"|{home}/")

    pid, status = die(dying)

    assert status == -signal.SIGSEGV
    assert "recorded as" in logged(home, pid)
    stop(agent)
    assert (sysctls / handler.PATTERN).read_text() == before
    assert [manifest["instance"]["pid"] for manifest in machine.captures()] == [pid]


def test_a_crash_loop_is_sampled_and_limits_hold(
    sysctls: Path, settings: Settings, home: Path, die: Callable, dying: str
) -> None:
    """Of many crashes some are recorded and all are counted; a core is cut at its limit, and kept where asked for."""
    options = Options(only_uid=UID, a_minute=2, most_bytes=1 << 16, keep_cores=True)
    with handler.installed(settings, options):
        with ThreadPoolExecutor(4) as crowd:  # at once, so that a slow machine does not need a minute for them
            pids = [pid for pid, _ in crowd.map(lambda _: die(dying), range(4))]
        outcome = [logged(home, pid) for pid in pids]

    assert sum("recorded as" in line for line in outcome) == 2
    assert sum("counted" in line for line in outcome) == 2
    assert all(any("cut off" in gap["reason"] for gap in report["incomplete"]) for report in records(home))
    kept = list((home / ".local/state/diag/cores").iterdir())
    assert len(kept) == 2
    assert all(path.stat().st_size <= 2 << 16 and path.stat().st_mode & 0o777 == 0o600 for path in kept)


def test_a_killed_agent_s_setting_is_put_back(sysctls: Path, settings: Settings) -> None:
    """What a killed agent left is restored by the next; what somebody else has set since is left."""
    before = (sysctls / handler.PATTERN).read_text()
    handler.install(settings)  # and killed
    assert (sysctls / handler.PATTERN).read_text().startswith("|")
    with handler.installed(settings):
        pass
    assert (sysctls / handler.PATTERN).read_text() == before
    assert not handler.restore(settings)

    handler.install(settings)
    (sysctls / handler.PATTERN).write_text("core.%p")
    assert handler.restore(settings)
    assert (sysctls / handler.PATTERN).read_text() == "core.%p\n"


def test_a_folder_that_does_not_fit_is_refused(sysctls: Path, settings: Settings, tmp_path: Path) -> None:
    """The kernel's setting has 127 characters, and spaces part it: what does not fit is refused, with nothing set."""
    before = (sysctls / handler.PATTERN).read_text()
    for name in ("a b", "x" * 120):
        with pytest.raises(handler.UsageError):
            handler.install(replace(settings, run_dir=tmp_path / name))
    assert (sysctls / handler.PATTERN).read_text() == before
