"""`diag shell`: a terminal beside an instance."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Podman
from machine import TIMEOUT_S

from diag.redact import unstyled

LAST = "(the test's own last words)"


class Terminal:
    """A terminal with `diag` in it; what the user sees is read as it comes."""

    def __init__(self, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(100, 30)
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diag", *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "PS1": "$ "},
        )

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size, as a window does."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.master, text.encode())

    def until(self, words: str) -> None:
        """Read until these words are on the screen since the last time."""
        limit = time.monotonic() + TIMEOUT_S
        while words not in unstyled(self.seen):
            assert time.monotonic() < limit, self.seen
            self._read()
        self.seen = unstyled(self.seen).partition(words)[2]

    def raw(self) -> bool:
        """Whether keys go through as they are typed."""
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def end(self) -> int:
        """Read until it has ended, and all that it wrote; returns the exit status."""
        limit = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < limit, self.seen
            self._read()
        os.write(self.slave, LAST.encode())  # behind all that it wrote, which may still be on its way through
        while LAST not in self.seen:
            assert time.monotonic() < limit, self.seen
            self._read()
        return self.process.returncode

    def _read(self) -> None:
        if select.select([self.master], [], [], 0.1)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")

    def close(self) -> None:
        """Kill and reap."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals, and closes them afterwards."""
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def events(home: Path) -> list[list[Any]]:
    """The events of the transcript."""
    (path,) = home.rglob("store/**/transcript.cast")
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def test_session(podman: Podman, unique: str, terminal: Callable, wait_for: Callable, home: Path) -> None:
    """Keys, Ctrl-C, job control and a resize work; the status is the shell's, and the terminal is as it was."""
    podman.run(unique)
    shell = terminal("shell", unique)
    shell.until("# ")
    wait_for(shell.raw)

    shell.type("cat /proc/1/cmdline | head -c 7; echo\r")
    shell.until("/opt/py")
    shell.type("sh -c 'echo wa''its; exec sleep 10000'\r")
    shell.until("waits")
    shell.type("\x03")
    shell.until("# ")
    shell.type("sleep 10000 &\rjobs\r")
    shell.until("Running")
    shell.resize(120, 40)
    shell.process.send_signal(signal.SIGWINCH)
    shell.type("\x15until stty size | grep '40 120'; do :; done; export DB_PASSWORD=hunter2-split\r")
    shell.until("\n40 120")
    shell.type("exit 9\r")

    assert shell.end() == 9
    assert termios.tcgetattr(shell.slave) == shell.before
    kept = events(home)
    assert [event[2] for event in kept if event[1] == "r"] == ["120x40"]
    shown = "".join(event[2] for event in kept if event[1] == "o")
    assert "DB_PASSWORD=[redacted:secret]" in unstyled(shown)
    assert "hunter2" not in shown
    assert "what it had left running was ended: 1" in shell.seen


def test_instance_without_a_shell(podman: Podman, unique: str, terminal: Callable) -> None:
    """This machine's shell stands in, and that is said."""
    podman.run(unique, bare=True)
    shell = terminal("shell", unique)
    shell.until("The instance has no shell.")
    shell.type("ls /instance/opt/py; exit 3\r")
    shell.until("bin")
    assert shell.end() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_terminal_is_given_back(start: Callable, terminal: Callable, wait_for: Callable, number: int) -> None:
    """Whatever ends diag, the terminal is as it was before."""
    child = start("sleeping_threads.py")
    shell = terminal("exec", str(child.pid), "--", "sh", "-c", "echo ready; sleep 10000")
    shell.until("ready")
    wait_for(shell.raw)

    shell.process.send_signal(number)

    assert shell.process.wait(TIMEOUT_S) == (128 + number if number == signal.SIGTERM else -number)
    wait_for(lambda: termios.tcgetattr(shell.slave) == shell.before)


def test_terminal_is_given_back_by_a_late_steward(start: Callable, terminal: Callable, wait_for: Callable) -> None:
    """The command ends with the terminal that diag had for it; the steward may hear of that before diag's own end."""
    child = start("sleeping_threads.py")
    shell = terminal("exec", str(child.pid), "--", "sh", "-c", "echo ready; sleep 10000")
    shell.until("ready")
    wait_for(shell.raw)
    (steward,) = below(shell.process.pid)
    (keeper,) = below(steward)
    os.kill(steward, signal.SIGSTOP)
    wait_for(lambda: state(steward) == "T")

    shell.process.kill()
    wait_for(lambda: state(keeper) == "Z")
    os.kill(steward, signal.SIGCONT)

    wait_for(lambda: termios.tcgetattr(shell.slave) == shell.before)


def below(pid: int) -> list[int]:
    """The children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    """The kernel's letter for a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_no_terminal(start: Callable, diag: Callable) -> None:
    """Without a terminal it is said how to run commands instead."""
    child = start("sleeping_threads.py")
    answer = diag("shell", str(child.pid))
    assert answer.returncode == 2
    assert "diag exec" in answer.stderr
