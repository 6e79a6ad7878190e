"""The probe stays compiled, whatever the program's own settings say, and starts where it cannot be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from machine import VERSIONS, python
from standin import StandIn

from diag.probe import FOLDER


@pytest.fixture
def copy(home: Path) -> Path:
    """A fresh copy of the injected folder, never started before."""
    return Path(shutil.copytree(FOLDER, home / "probe", ignore=shutil.ignore_patterns("__pycache__")))


def start(version: str, folder: Path, agent: StandIn) -> str:
    """Start a program with this copy in it; what it says of its modules and of its own setting."""
    environment = {**agent.environment(), "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import sys; print('cache' if 'diag_probe.cache' in sys.modules else 'parts', sys.dont_write_bytecode)"
    done = subprocess.run([python(version), "-c", code], env=environment, capture_output=True, text=True, check=True)
    agent.settle()
    return done.stdout.strip() + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_second_start_compiles_nothing(version: str, copy: Path, agent: StandIn) -> None:
    """The first start leaves what the second one loads in one read; a changed source is compiled anew."""
    said = [start(version, copy, agent), start(version, copy, agent)]
    (copy / "diag_probe" / "hooks.py").write_text((copy / "diag_probe" / "hooks.py").read_text() + "\n")
    said.append(start(version, copy, agent))

    assert said == ["cache True", "parts True", "cache True"]
    assert len(agent.connections) == 3


@pytest.mark.parametrize("version", ["3.8", "3.13"])
@pytest.mark.parametrize("content", [b"", b"not marshal", b"i\0\0\0\0"])
def test_spoilt_cache(version: str, content: bytes, copy: Path, agent: StandIn) -> None:
    """A cache file that holds anything else is written anew."""
    tag = f"cpython-{version.replace('.', '')}"
    parts = copy / "diag_probe" / "__pycache__" / f"start.{tag}.parts"
    parts.parent.mkdir()
    parts.write_bytes(content)

    start(version, copy, agent)

    assert len(agent.connections) == 1
    assert parts.stat().st_size > 10000


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_cache_that_cannot_be_written(version: str, copy: Path, agent: StandIn) -> None:
    """Without a place for the cache the probe starts all the same."""
    (copy / "diag_probe" / "__pycache__").write_text("in the way")

    start(version, copy, agent)

    assert len(agent.connections) == 1
