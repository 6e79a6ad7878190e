"""The program that starts the command and answers for it: a process of its own, so that it outlives whoever asked.

It is told what to do in one line of JSON on a socket. When the command has ended, when the time is up, or when the
socket's other end is gone (then diag was killed), it ends everything that the command has started, and then itself.

Three processes: the steward in our own namespaces; below it, in the instance's, the keeper, to which whatever loses its
parent falls, so that the instance's own first process never gets a stranger's child; and below that the command.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from diag.collectors.beside import kernel, leftovers
from diag.collectors.beside.entry import Refused, Way
from diag.collectors.beside.keeper import Keeper
from diag.collectors.beside.subject import read
from diag.collectors.procfs import ProcFolder
from diag.errors import DiagError
from diag.probe import FOLDER
from diag.probe.diag_probe import layout

# What would make a program of this machine load the instance's files, or look for its own in the wrong place.
STEERING = (b"LD_", b"PYTHON", b"PERL", b"RUBY", b"NODE_", b"PATH", b"GCONV_PATH", b"LOCPATH", b"BASH_ENV", b"ENV")


def command_line(control: int) -> list[str]:
    """How to start this program: with this very diag, whatever the user's environment says of Python."""
    home = str(Path(__file__).resolve().parents[3])
    start = f"import sys; sys.path.insert(0, {home!r}); from {__spec__.name} import main; main(int(sys.argv[1]))"
    return [sys.executable, "-I", "-c", start, str(control)]


def main(control: int) -> NoReturn:
    """Do what the socket says. Never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTOU, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    with socket.socket(fileno=control) as told:
        os.set_inheritable(control, False)
        lines = told.makefile("rb", buffering=0)
        order = json.loads(lines.readline())
        try:
            Steward(told, order).serve()
        except DiagError as error:
            _tell(told, {"refused": str(error), "help": error.help_text, "exit_code": error.exit_code})
        except Refused as error:
            _tell(told, {"step": error.step, "errno": error.errno, "needed": error.needed})
    os._exit(0)


def _tell(told: socket.socket, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        told.sendall(json.dumps(message).encode() + b"\n")


class Steward:
    """One command, from its start until nothing of it is left."""

    def __init__(self, told: socket.socket, order: Mapping[str, Any]) -> None:
        self._told = told
        self._order = order
        self._terminal: int | None = order["terminal"]
        self._settings = termios.tcgetattr(self._terminal) if self._terminal is not None else None
        self._first = 0
        self._early: list[int] = []  # signals that came before the command was there
        self._cgroup: leftovers.Cgroup | None = None

    def serve(self) -> None:
        """Raises DiagError or Refused where the command was not started."""
        leftovers.sweep()
        with ProcFolder(self._order["pid"]) as folder:
            reading = read(folder, self._order["ticks"])
            way = Way.open(folder, reading, host_tools=self._order["host_tools"])
            environment = self._environment(folder.read("environ"))
            read(folder, self._order["ticks"])  # all of it was opened while that process still lived
            self._cgroup = leftovers.Cgroup.make(leftovers.owner())
            try:
                way.join_pids()
                heard, keeper = self._start(way, environment)
            except BaseException:
                self._remove_cgroup()
                raise
        for descriptor in self._order["files"]:
            os.close(descriptor)
        self._watch(heard, keeper)

    def _start(self, way: Way, environment: dict[bytes, bytes]) -> tuple[int, int]:
        heard, said = os.pipe()
        try:
            keeper = os.fork()
        except OSError as error:
            raise Refused("pid", error) from None
        if keeper == 0:
            os.close(heard)
            Keeper(said, self._cgroup, self._order).run(way, environment)
        os.close(said)
        return heard, keeper

    def _watch(self, heard: int, keeper: int) -> None:
        deadline = time.monotonic() + self._order["timeout_s"] if self._order["timeout_s"] else None
        orders, status, ended_by = b"", None, ""
        while not ended_by:
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            waited_for: list[Any] = [self._told, heard]
            ready, _, _ = select.select(waited_for, [], [], patience)
            if not ready:
                ended_by = "timeout"
            if heard in ready:
                said = os.read(heard, 4096).decode()
                ended_by, status = self._hear(said, keeper)
            elif self._told in ready:
                received = self._receive()
                *lines, orders = (orders + received).split(b"\n")
                ended_by = "" if received else "gone"
                for line in lines:
                    ended_by = self._obey(json.loads(line)) or ended_by
        self._finish(keeper, status, ended_by)

    def _receive(self) -> bytes:
        """What diag says; nothing when it is gone, which is a reset where it had not read all that it was told."""
        try:
            return self._told.recv(4096)
        except ConnectionResetError:
            return b""

    def _is_alone(self) -> bool:
        """Whether diag is gone. A command that its terminal has left with diag may be heard of before that."""
        try:
            while self._told.recv(4096, socket.MSG_DONTWAIT):
                continue
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True

    def _hear(self, said: str, keeper: int) -> tuple[str, int | None]:
        for line in said.splitlines():
            word, *rest = line.split(" ", 3)
            if word == "started":
                self._first = next(iter(leftovers.descendants(keeper)), 0)
                _tell(self._told, {"started": True})
                for number in self._early:
                    self._signal(number)
            elif word == "status":
                return "itself", int(rest[0])
            elif word == "exec":
                _tell(self._told, {"not_executed": int(rest[0])})
                return "refused", None
            elif word == "refused":
                _tell(self._told, {"step": rest[0], "errno": int(rest[1]), "needed": rest[2]})
                return "refused", None
        return ("" if said else "lost"), None

    def _obey(self, order: Mapping[str, Any]) -> str:
        if "signal" in order:
            self._signal(order["signal"])
        return str(order.get("end", ""))

    def _signal(self, number: int) -> None:
        if not self._first:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._first, number)

    def _finish(self, keeper: int, status: int | None, ended_by: str) -> None:
        killed = leftovers.kill_descendants(keeper)
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
        if self._cgroup is not None:
            killed += self._cgroup.kill()
        else:
            killed += leftovers.kill_marked(self._order["mark"])
        if self._terminal is not None and self._settings is not None and (ended_by == "gone" or self._is_alone()):
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._settings)
        left = max(0, killed - (status is None))
        _tell(self._told, {"ended": ended_by, "status": status, "killed": left})

    def _remove_cgroup(self) -> None:
        if self._cgroup is not None:
            self._cgroup.kill()

    def _environment(self, raw: bytes) -> dict[bytes, bytes]:
        """The instance's own, without our probe: a command is not the instance."""
        pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
        found = {name: value for name, _, value in pairs if name}
        for name in (layout.ENV_SOCKET, layout.ENV_LOCALS):
            found.pop(name.encode(), None)
        if b"PYTHONPATH" in found:
            words = [word for word in found[b"PYTHONPATH"].split(b":") if word != os.fsencode(FOLDER)]
            found[b"PYTHONPATH"] = b":".join(words)
            if not words:
                del found[b"PYTHONPATH"]
        if self._order["host_tools"]:
            found = {name: value for name, value in found.items() if not name.startswith(STEERING)}
            found[b"PATH"] = self._order["path"].encode()
        if self._order["term"]:
            found[b"TERM"] = self._order["term"].encode()
        found[leftovers.MARK.encode()] = self._order["mark"].encode()
        return found
