"""Real child processes: forks of the campaign, which has the product's modules loaded already, so that each is quick.

The campaign has no threads where it forks.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from durability.work import Work

LIMIT_S = 300.0  # of what takes seconds; a slow machine may take its time
FAILED = 70  # a child that ended by an exception of ours or of the product's


class Child:
    """A process that does one piece of work in a group of its own. What it says comes through a pipe."""

    def __init__(self, work: Work, environ: Mapping[str, str], output: Path, *, gated: bool = False) -> None:
        said, saying = os.pipe()
        gate, opening = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(said)
            os.close(opening)
            _be(work, environ, output, saying, gate)
        os.close(saying)
        os.close(gate)
        with suppress(OSError):  # it has done so itself, and perhaps is gone
            os.setpgid(self.pid, self.pid)
        fcntl.fcntl(said, fcntl.F_SETPIPE_SZ, 1024 * 1024)  # nobody reads before its end
        self._said, self._opening = said, opening
        self._heard = b""
        self.status: int | None = None
        self.hung = False
        if not gated:
            self.go()

    def go(self) -> None:
        """Let it begin."""
        if self._opening >= 0:
            with suppress(BrokenPipeError):
                os.write(self._opening, b"!")  # closing would not do: later children hold a copy
            os.close(self._opening)
            self._opening = -1

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal it and what it started."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its wait status as `os.waitstatus_to_exitcode` tells it. Whoever is not done in time is killed, and hung."""
        self.go()
        if self.status is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                if not select.select([descriptor], [], [], limit_s)[0]:
                    self.hung = True
                    self.kill()
            finally:
                os.close(descriptor)
            self.kill()  # the rest of its group
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def said(self) -> list[dict[str, Any]]:
        """All it said, after its end."""
        self.wait()
        if self._said < 0:
            return []
        while chunk := os.read(self._said, 65536):
            self._heard += chunk
        os.close(self._said)
        self._said = -1
        return [json.loads(line) for line in self._heard.splitlines()]

    def await_word(self, word: str, times: int) -> None:
        """Wait until it has said a line with this key so often, or has ended."""
        while self._heard.count(f'"{word}":'.encode()) < times:
            if not select.select([self._said], [], [], LIMIT_S)[0]:
                raise RuntimeError(f"it does not say {word!r}: {self._heard!r}")
            chunk = os.read(self._said, 65536)
            if not chunk:
                return
            self._heard += chunk


def _be(work: Work, environ: Mapping[str, str], output: Path, saying: int, gate: int) -> None:
    status = FAILED
    try:
        os.setpgid(0, 0)
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environ)
        with output.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.read(gate, 1)
        status = work(lambda line: _say(saying, line))
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - a fork must never return into the campaign
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _say(descriptor: int, line: Mapping[str, Any]) -> None:
    os.write(descriptor, json.dumps(line).encode() + b"\n")
