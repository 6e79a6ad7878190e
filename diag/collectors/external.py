"""Runs an outside tool: its own process group, a time limit, no shell, and the tail of what it complained about."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STDERR_TAIL = 600


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool said. `status` is None where it was ended at the time limit."""

    status: int | None
    stdout: bytes
    stderr: str


def find(tool: str) -> str | None:
    """The tool's path: beside our interpreter first, where pip put it with us, then on the PATH."""
    beside = Path(sys.executable).parent / tool
    if os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which(tool)


def run(arguments: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None) -> Ran:
    """Run the tool to its end, or to the time limit; whatever happens here, it does not stay behind."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        process_group=0,
    ) as process:
        status: int | None
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
            status = process.returncode
        except subprocess.TimeoutExpired:
            _kill(process)
            stdout, stderr = process.communicate()
            status = None
        except BaseException:  # Ctrl-C: the tool is not in the terminal's group, so nobody else ends it
            _kill(process)
            raise
    return Ran(status, stdout, _tail(stderr))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return " ".join(line.strip() for line in lines if line.strip())[-STDERR_TAIL:]
