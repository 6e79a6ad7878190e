"""Runs an outside tool: its own process group, a time limit, no shell, and the tail of what it complained about."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

STDERR_TAIL = 600
LOOK_EVERY_S = 0.1
PIPE_BYTES = 1 << 20
FIRST_WORD_S = 3.0
STARTS_S = 30.0  # of a tool that answers at once: the first time it comes from a disk, on a machine that is busy
_SHELL = "/bin/sh"
# Its standard input ends with us.
_LIFELINE = 'read -r _; kill -s INT "$0" && sleep 5 && kill -s KILL -- "-$0"'


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool said. `status` is None where it was ended at the time limit.

    Of a tool that records also when it was started and when it first said a word, in seconds since 1970, and how long
    it took.
    """

    status: int | None
    stdout: bytes
    stderr: str
    started_at: float = 0.0
    spoke_at: float | None = None
    took_s: float = 0.0

    @property
    def looked_from(self) -> float:
        """When it began to look: profilers say a word then."""
        return self.spoke_at or self.started_at

    @property
    def looked_s(self) -> float:
        """For how long it looked."""
        return max(0.0, self.took_s - (self.looked_from - self.started_at))


def find(tool: str) -> str | None:
    """The tool's path: beside our interpreter first, where pip put it with us, then on the PATH."""
    beside = Path(sys.executable).parent / tool
    if os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which(tool)


def run(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    memory_bytes: int | None = None,
) -> Ran:
    """Run the tool to its end, or to the time limit; whatever happens here, it does not stay behind.

    `memory_bytes` bounds what it may allocate (RLIMIT_DATA, setrlimit(2)): files that it maps do not count.
    """
    with subprocess.Popen(
        arguments,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        process_group=0,
    ) as process:
        status: int | None
        try:
            if memory_bytes is not None:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
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


def record(
    arguments: Sequence[str],
    *,
    limit_s: float,
    grace_s: float,
    enough: Callable[[float], bool],
    environment: Mapping[str, str] | None = None,
    take: Callable[[bytes], None] | None = None,
) -> Ran:
    """Run a tool that records until it ends by itself, or until `enough(seconds since its start)`: then it gets SIGINT,
    and `grace_s` to write what it has. After `limit_s` and the grace it is killed; `status` is None then. Should we be
    killed, it is ended as well.

    With `take`, what it writes to standard output is given there as it comes, and to nobody else.
    """
    # Files, not pipes: nobody reads while it records, and a tool that talks a lot must not block.
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        started_at, began = time.time(), time.monotonic()
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if take else said,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            process_group=0,
        )
        lifeline = None
        try:
            lifeline = _lifeline(process.pid)
            # Where somebody takes what it writes, nobody waits: a pipe would fill up meanwhile.
            spoke_at = None if take else _first_word((said, errors), process)
            status = _attend(process, limit_s, grace_s, enough, take)
        finally:
            if process.poll() is None:
                _kill(process)
                process.wait()
            if process.stdout:
                process.stdout.close()
            if lifeline is not None:
                with lifeline:
                    _kill(lifeline)
        said.seek(0)
        errors.seek(0)
        return Ran(status, said.read(), _tail(errors.read()), started_at, spoke_at, time.monotonic() - began)


def _lifeline(pid: int) -> subprocess.Popen[bytes] | None:
    """Who ends the tool should we be killed: it would go on looking for as long as it was asked to."""
    if not os.access(_SHELL, os.X_OK):
        return None
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        [_SHELL, "-c", _LIFELINE, str(pid)], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, process_group=0
    )


def _first_word(files: Sequence[IO[bytes]], process: subprocess.Popen[bytes]) -> float | None:
    """When the tool first said something: profilers do when they begin to look. None where it says nothing soon."""
    until = time.monotonic() + FIRST_WORD_S
    while time.monotonic() < until and process.poll() is None:
        for file in files:
            facts = os.fstat(file.fileno())
            if facts.st_size:
                return facts.st_mtime
        time.sleep(LOOK_EVERY_S / 10)
    return None


def _attend(
    process: subprocess.Popen[bytes],
    limit_s: float,
    grace_s: float,
    enough: Callable[[float], bool],
    take: Callable[[bytes], None] | None,
) -> int | None:
    began, asked_at = time.monotonic(), None
    while True:
        ended = _pass_on(process, take) if take else _wait(process)
        if ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(grace_s)
            return None
        elapsed = time.monotonic() - began
        if asked_at is None and (enough(elapsed) or elapsed > limit_s):
            asked_at = elapsed
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        if asked_at is not None and elapsed > asked_at + grace_s:
            return None


def _wait(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LOOK_EVERY_S)
        return True
    return False


def _pass_on(process: subprocess.Popen[bytes], take: Callable[[bytes], None]) -> bool:
    """Give on what it writes within a short time; true when it has closed its output, and so is about to end."""
    assert process.stdout is not None
    until = time.monotonic() + LOOK_EVERY_S
    while (left := until - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            chunk = os.read(process.stdout.fileno(), PIPE_BYTES)
            if not chunk:
                return True
            take(chunk)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return " ".join(line.strip() for line in lines if line.strip())[-STDERR_TAIL:]
