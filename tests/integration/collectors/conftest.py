"""Processes to look at: live ones that say when they are ready, and one that stands still in a crash."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import PROGRAMS, TIMEOUT_S, need

from diag.collectors import signal_frame

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a program of tests/programs; returns when it has said "ready"."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str, python: str = sys.executable, **options: object) -> subprocess.Popen[str]:
        command = [python, str(PROGRAMS / program), *arguments]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
        started.append(child)
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of real faults, compiled now."""
    library = tmp_path_factory.mktemp("faults") / "real_faults.so"
    source = PROGRAMS / "real_faults.c"
    subprocess.run([need("gcc"), "-g", "-O0", "-fPIC", "-shared", "-o", library, source], check=True)
    return library


@dataclass
class FrozenChild:
    """A process that stands still in faulthandler's handler."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    thread_id: int
    text: str

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def let_die(self) -> int:
        """Read the rest of its text, and return its wait status."""
        while packet := self.link.recv(65536):
            self.text += packet.decode()
        return self.process.wait(TIMEOUT_S)


@pytest.fixture
def freeze(home: Path, faults: Path) -> Iterator[Callable[..., FrozenChild]]:
    """Start a crash and hold it: one packet is read, so the kernel blocks the next ones."""
    held: list[FrozenChild] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(home / "s"))
    listener.listen()
    listener.settimeout(TIMEOUT_S)

    def start(kind: str, *, python: str = sys.executable, thread: bool = False) -> FrozenChild:
        command = [python, PROGRAMS / "frozen_crash.py", home / "s", kind, faults, *(["thread"] if thread else [])]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        link, _ = listener.accept()
        link.settimeout(TIMEOUT_S)
        first = link.recv(65536).decode()
        thread_id = signal_frame.blocked_writer(process.pid, wait_s=TIMEOUT_S) if first else None
        held.append(FrozenChild(process, link, thread_id or 0, first))
        assert thread_id, "the program did not stand still"
        return held[-1]

    yield start
    for child in held:
        child.process.kill()
        child.process.wait(TIMEOUT_S)
        child.link.close()
    listener.close()
