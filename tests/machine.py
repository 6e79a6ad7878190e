"""What this machine has: tools and interpreters that tests need, and what to do where one is missing."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
TIMEOUT_S = 60  # of what takes a second; a machine that is busy, or has just started, takes long


def missing(sentence: str) -> None:
    """Skip with the sentence; with DIAG_TEST_STRICT=1 (CI) fail instead."""
    if os.environ.get("DIAG_TEST_STRICT") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def fault_library(folder: Path) -> str:
    """The path of a shared library, compiled into the folder, with one function for each kind of fault."""
    library = folder / "faults.so"
    command = [need("gcc"), "-shared", "-fPIC", "-g", "-pthread", "-o", str(library), str(PROGRAMS / "real_faults.c")]
    subprocess.run(command, check=True)
    return str(library)


@cache
def go_program(name: str) -> str:
    """The path of a Go program of tests/programs, built once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="dgo", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / name.removesuffix(".go")
    environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off", "CGO_ENABLED": "0"}
    command = [need("go"), "build", "-trimpath", "-o", str(path), str(PROGRAMS / name)]
    subprocess.run(command, check=True, env=environment)
    shutil.rmtree(folder / "cache")
    return str(path)


def need(tool: str) -> str:
    """The tool's path; skips or fails where it is not installed."""
    path = shutil.which(tool)
    if path is None:
        missing(f"{tool} is not installed; `make test` as root installs it.")
    assert path is not None
    return path


@cache
def find_python(version: str) -> str | None:
    """A bare CPython of this version, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".pyenv")
    candidates = sorted((pyenv / "versions").glob(f"{version}.*/bin/python"))
    candidates += [Path(found) for found in (shutil.which(f"python{version}"), shutil.which("python3")) if found]
    for candidate in candidates:
        answer = subprocess.run(
            [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout.strip() == version:
            _bring_to_memory(candidate)
            return str(candidate)
    return None


def _bring_to_memory(interpreter: Path) -> None:
    """Let the kernel read the whole of it: who reads a crash needs its symbols, and has no time to wait for a disk."""
    place = interpreter.resolve()
    for path in (place, *place.parent.parent.glob("lib/libpython*.so*")):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def python(version: str) -> str:
    """A bare CPython of this version, outside any virtual environment."""
    found = find_python(version)
    if found is None:
        missing(f"CPython {version} is not on this machine (pyenv has it where present).")
    assert found is not None
    return found
