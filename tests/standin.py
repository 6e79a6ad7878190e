"""A small real agent for tests of the probe: it listens, collects packets, answers FATAL, and reads late on request."""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxes import Box
from machine import TIMEOUT_S

from diag.probe import FOLDER
from diag.probe.diag_probe import layout


@dataclass
class Connection:
    """One link: who connected by the kernel's word, and what came."""

    sock: socket.socket
    pid: int
    packets: list[bytes] = field(default_factory=list)
    closed: bool = False

    @property
    def hello(self) -> dict[str, Any]:
        """What the HELLO packet says."""
        first = self.packets[0]
        assert first[:1] == layout.HELLO
        found = marshal.loads(first[1:])
        assert isinstance(found, dict)
        return found

    @property
    def text(self) -> str:
        """What faulthandler wrote."""
        return b"".join(packet for packet in self.packets if packet[0] > layout.LAST_MESSAGE).decode()

    def messages(self, kind: bytes) -> list[bytes]:
        """The packets of one kind."""
        return [packet for packet in self.packets if packet[:1] == kind]


class StandIn:
    """The agent's end of the socket, served by one thread. With `freezing`, text is read only after `release`."""

    def __init__(self, folder: Path, *, freezing: bool = False, answering: bool = True, reading: bool = True) -> None:
        self.boxes = folder / layout.BOX_FOLDER
        self.boxes.mkdir(parents=True, mode=0o700)
        self.path = folder / "probe.sock"
        self.freezing, self.answering, self.reading = freezing, answering, reading
        self.connections: list[Connection] = []
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._frozen: list[Connection] = []
        self._barriers = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a program that this agent watches."""
        path = os.pathsep.join(filter(None, [str(FOLDER), more.pop("PYTHONPATH", "")]))
        return {**os.environ, **more, layout.ENV_SOCKET: str(self.path), "PYTHONPATH": path}

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Until the condition holds; looks again whenever something arrives. Fails after TIMEOUT_S."""
        deadline = time.monotonic() + TIMEOUT_S
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"not seen: {[(c.pid, c.packets, c.closed) for c in self.connections]}"
                self._changed.wait(min(left, 0.05))

    def catch_up(self) -> None:
        """Until every link that was made is known, and who it is."""
        self._accept_all()
        self.wait_for(lambda: all(connection.packets or connection.closed for connection in self.connections))

    def settle(self) -> None:
        """Until every link that was made is closed, so that all packets are here."""
        self._accept_all()
        self.wait_for(lambda: all(connection.closed for connection in self.connections))

    def frozen(self) -> Connection:
        """The connection whose process stands still in a fatal signal."""
        self.wait_for(lambda: self._frozen)
        return self._frozen[0]

    def release(self) -> None:
        """Read on: every frozen process goes on dying."""
        self.freezing = False
        self._wake.send(b"r")

    def box(self, connection: Connection | None = None) -> Box:
        """The black box of a connection, by default of the only one."""
        if connection is None:
            (connection,) = self.connections
        return Box(self.boxes / connection.hello["box"])

    def close(self) -> None:
        """Stop serving and close every link."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.send(b"s")
        self._thread.join(TIMEOUT_S)
        for connection in self.connections:
            connection.sock.close()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()
        self._selector.close()

    def _accept_all(self) -> None:
        wanted = self._barriers + 1
        self._wake.send(b"b")
        self.wait_for(lambda: self._barriers >= wanted)

    def _serve(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._woken.recv(1)
                    self._accept()
                    self._thaw()
                    self._barriers += 1
                else:
                    self._receive(key.data)
            with self._changed:
                self._changed.notify_all()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._welcome(self._listener.accept()[0])

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        connection = Connection(sock, struct.unpack("3i", credentials)[0])
        self.connections.append(connection)
        if self.reading:
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _receive(self, connection: Connection) -> None:
        packet = b""
        with contextlib.suppress(ConnectionError):
            packet = connection.sock.recv(65536)
        if not packet:
            connection.closed = True
            self._selector.unregister(connection.sock)
            return
        connection.packets.append(packet)
        if packet[:1] == layout.FATAL and self.answering:
            with contextlib.suppress(OSError):
                connection.sock.send(layout.ACK)
        if packet[0] > layout.LAST_MESSAGE and self.freezing:
            self._selector.unregister(connection.sock)
            self._frozen.append(connection)

    def _thaw(self) -> None:
        while self._frozen and not self.freezing:
            connection = self._frozen.pop()
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)
