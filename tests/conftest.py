"""Fixtures that every test may use: a machine state of its own, and strictness about missing tools."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from postgres import Postgres, serving_postgres

PACKAGES = [Path(__file__).parents[1] / name for name in ("diag", "server/diag_server")]
# Each run tries the same examples, however slowly: `pytest --hypothesis-profile=default` looks for others.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

# What the tests start is hung up and interrupted as in a terminal, also where they themselves run under nohup or `&`.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """What a fresh checkout compiles when it is first imported: a crash does not wait for its agent so long."""
    for package in PACKAGES:
        compileall.compile_dir(package, quiet=2)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh HOME, state and run folder for this test, with no DIAG_* or OTEL_* variable set.

    Under /tmp by a short name, because a Unix socket's path ends at 107 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix="dg", dir="/tmp"))
    for name in [
        name for name in os.environ if name.startswith(("DIAG_", "OTEL_", "XDG_")) and name != "DIAG_TEST_STRICT"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    yield folder
    for place, _, names in os.walk(folder):  # unlike rglob it goes on where an uploader removes a folder meanwhile
        if "uploader.lock" in names:
            end_uploader(Path(place, "uploader.lock"))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that whoever needs it shares; each takes a database of its own."""
    with serving_postgres("fsync=off") as server:
        yield server


def end_uploader(lock: Path) -> None:
    """Kill the uploader that an agent left for this spool, if it has not ended."""
    with suppress(OSError):
        pid = lock.read_text().partition(" ")[0]
        if pid and b"diag.upload.background" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
