"""Node's inspector: opened by a signal, spoken to over a web socket, and closed again. The debugger is never enabled.

Source: https://nodejs.org/api/debugger.html and https://chromedevtools.github.io/devtools-protocol/v8/
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import websocket

from diag.collectors import sockets
from diag.collectors.collector import Subject
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder, parse_status
from diag.collectors.sockets import Address
from diag.errors import CannotAttach, NoSuchInstance, ToolFailed, WrongEngine, WrongRuntime

DEFAULT_PORT = 9229
OPENS_S = 10.0
ANSWER_S = 30.0
_ASK_S = 2.0
_LOOK_EVERY_S = 0.05
_CLOSE = "require('inspector').close()"


class Gone(Exception):
    """The other side has closed the connection: the process has ended, or somebody closed its inspector."""


class Inspector:
    """One session. What it enabled ends with it, whoever ends it."""

    def __init__(self, pid: int, address: Address, url: str) -> None:
        connection = sockets.connect(pid, address, timeout_s=ANSWER_S)
        self._socket = websocket.create_connection(url, timeout=ANSWER_S, socket=connection, suppress_origin=True)
        self._sent = 0

    def call(
        self, method: str, heard: Callable[[dict[str, Any]], None] = lambda _event: None, **parameters: Any
    ) -> dict[str, Any]:
        """The result of a method; `heard` gets what is told meanwhile. Raises Gone, ToolFailed."""
        self._sent += 1
        try:
            self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
            while True:
                received = self._socket.recv()
                if not received:
                    raise Gone
                answer: dict[str, Any] = json.loads(received)
                if answer.get("id") == self._sent:
                    break
                heard(answer)
        except websocket.WebSocketTimeoutException as error:
            # JavaScript that is inside one long call of C++ answers when that returns.
            raise ToolFailed(f"Node's inspector did not answer {method} within {ANSWER_S:.0f} s.") from error
        except (websocket.WebSocketException, OSError) as error:
            raise Gone from error
        if "error" in answer:
            raise ToolFailed(f"Node's inspector refused {method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    @property
    def version(self) -> str:
        """Node's own version."""
        found = self.call("Runtime.evaluate", expression="process.version", returnByValue=True)
        return str(found["result"].get("value", "")).removeprefix("v")

    def close_inspector(self) -> None:
        """Close the process's inspector, and with it this session; Node then listens no more."""
        with suppress(Gone):
            self.call("Runtime.evaluate", expression=_CLOSE, includeCommandLineAPI=True)

    def close(self) -> None:
        """End the session."""
        with suppress(websocket.WebSocketException, OSError):
            self._socket.close(timeout=1)


def check_node(subject: Subject) -> None:
    """Raises WrongRuntime where it is no Node."""
    if subject.language != "node":
        raise WrongRuntime(f"This engine is for Node, and pid {subject.pid} is {subject.runtime or 'unknown'}.")


def check(subject: Subject) -> str:
    """How the inspector will be reached, in words. Raises WrongEngine, CannotAttach."""
    if subject.standing:
        raise WrongEngine(f"The process is {subject.standing}: it cannot answer.")
    check_attachable(subject.pid)
    if already_open(subject.pid):
        return "its inspector is open already"
    check_signal(subject.pid)
    return "SIGUSR1 opens Node's inspector on loopback for that time, of which Node writes three lines to its stderr"


def check_signal(pid: int) -> None:
    """Whether SIGUSR1 opens the inspector of this process, or is not needed.

    Raises WrongEngine where the signal would end the process, or somebody else has its port.
    """
    if already_open(pid):
        return
    try:
        with ProcFolder(pid) as folder:
            caught = int(parse_status(folder.text("status"))["SigCgt"], 16)
    except (OSError, KeyError) as error:
        raise NoSuchInstance(f"There is no process {pid} (any more).") from error
    if not caught >> (signal.SIGUSR1 - 1) & 1:
        raise WrongEngine(
            f"Process {pid} does not catch SIGUSR1, so it would end it: Node's inspector cannot be opened.",
            "Start Node without --disable-sigusr1, or with --inspect; `--engine auto` takes one that needs neither.",
        )
    if any(address.port == _port(pid) for address in sockets.listening_beside(pid)):
        raise WrongEngine(
            f"Port {_port(pid)}, where Node would open its inspector, is taken by another process.",
            "Start Node with --inspect-port=0, or end what listens there; `--engine auto` needs no port.",
        )
    try:
        os.kill(pid, 0)  # asks only
    except PermissionError as error:
        raise CannotAttach(f"This user may not signal process {pid}.", "Run as the same user, or as root.") from error


@contextmanager
def opened(pid: int) -> Iterator[Inspector]:
    """A session with the process's inspector, which is closed again if it was not open before.

    Raises ToolFailed, WrongEngine, CannotAttach.
    """
    check_signal(pid)
    found, ours = already_open(pid), False
    if found is None:
        os.kill(pid, signal.SIGUSR1)
        found, ours = _wait(pid), True
    with closing(Inspector(pid, *found)) as session:
        try:
            yield session
        finally:
            if ours:
                session.close_inspector()


def already_open(pid: int) -> tuple[Address, str] | None:
    """Where the process's inspector listens, and the address of its web socket."""
    for address in sockets.listening(pid):
        # A port that is surely something else's is not asked: whoever listens there may note it in a log.
        if address.port == _port(pid) or _port(pid) == 0:
            url = _url(pid, address)
            if url:
                return address, url
    return None


def _wait(pid: int) -> tuple[Address, str]:
    until = time.monotonic() + OPENS_S
    while time.monotonic() < until:
        found = already_open(pid)
        if found:
            return found
        time.sleep(_LOOK_EVERY_S)
    raise ToolFailed(f"Node {pid} did not open its inspector within {OPENS_S:.0f} s.", "Is its main thread blocked?")


def _url(pid: int, address: Address) -> str | None:
    """What the inspector says of itself; None where something else answers."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=_ASK_S)) as connection:
            connection.sock = sockets.connect(pid, address, timeout_s=_ASK_S)
            connection.request("GET", "/json/list")
            targets = json.loads(connection.getresponse().read(1 << 16))
        url = targets[0]["webSocketDebuggerUrl"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    return url if isinstance(url, str) and url.startswith("ws://") else None


def _port(pid: int) -> int:
    """The port that the process's command line or NODE_OPTIONS name, or Node's own."""
    try:
        with ProcFolder(pid) as folder:
            words = folder.text("cmdline").split("\0")
            for variable in folder.text("environ").split("\0"):
                if variable.startswith("NODE_OPTIONS="):
                    words = [*variable.partition("=")[2].split(), *words]
    except (OSError, NoSuchInstance):
        return DEFAULT_PORT
    port = DEFAULT_PORT
    for option, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = option.partition("=")
        if name in ("--inspect-port", "--debug-port", "--inspect", "--inspect-brk", "--inspect-wait"):
            number = (value or (following if name.endswith("-port") else "")).rpartition(":")[2]
            port = int(number) if number.isdecimal() else port
    return port
