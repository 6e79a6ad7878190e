"""The hooks of a platform that freezes and stops instances: HTTP over a Unix socket, and over loopback if asked for.

    POST /pre-freeze?deadline_s=3   everything received is durable, and delivered as far as the time allows
    POST /pre-stop?deadline_s=3     the same, and then the agent ends
    GET  /health                    how many instances, and where every capture is

Each answers with the account as JSON: 200 all delivered, 202 all durable and something waits, 503 not all durable.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from diag.agent.allowance import Allowance
from diag.agent.flushing import Flusher
from diag.errors import UsageError

NAME = "hooks"
AT_ONCE = 8
PRE_FREEZE, PRE_STOP, HEALTH = "/pre-freeze", "/pre-stop", "/health"


@dataclass(slots=True)
class Hooks:
    """Where hooks are called. `stop` ends the agent; None where it ends with its instance, whatever a hook says."""

    flusher: Flusher
    stop: Callable[[], None] | None = None
    _listeners: list[socket.socket] = field(default_factory=list)
    _allowance: Allowance = field(default_factory=Allowance)  # of all strangers together
    _slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))

    def listen_at(self, path: Path, mode: int = 0o600) -> None:
        """Listen on a Unix socket. Raises OSError."""
        path.unlink(missing_ok=True)
        self._listeners.append(_listening(socket.AF_UNIX, str(path)))
        path.chmod(mode)

    def listen_on(self, address: str) -> tuple[str, int]:
        """Listen on HOST:PORT of the loopback; returns where. Raises UsageError."""
        host, colon, port = address.rpartition(":")
        loopback = host in ("127.0.0.1", "localhost", "[::1]")
        if not (colon and loopback and port.isdecimal() and int(port) < 1 << 16):
            raise UsageError(
                f"{address!r} is no address of the loopback: the hooks end the agent, and ask nobody who he is.",
                "For example: --http 127.0.0.1:4318",
            )
        family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
        try:
            listener = _listening(family, (host.strip("[]"), int(port)))
        except OSError as error:
            raise UsageError(f"Nobody can listen on {address}: {error.strerror}.", "Say another port.") from error
        self._listeners.append(listener)
        found = listener.getsockname()
        return str(found[0]), int(found[1])

    def doors(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """For poll: each descriptor, and what to call when somebody is there."""
        for listener in self._listeners:
            yield listener.fileno(), partial(self._arrived, listener)

    def close(self) -> None:
        """Listen no longer."""
        for listener in self._listeners:
            if listener.family == socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    Path(listener.getsockname()).unlink()
            listener.close()

    def _arrived(self, listener: socket.socket) -> None:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        trusted = may_stop(caller)
        # Each call is a thread that has every black box read; who calls so often can call again.
        if not (trusted or self._allowance.take()) or not self._slots.acquire(blocking=False):
            caller.close()
            return
        threading.Thread(target=self._serve, args=(caller, trusted), name="hook", daemon=True).start()

    def _serve(self, caller: socket.socket, trusted: bool) -> None:
        from diag.agent.hook_words import answer  # http.server: for those who are called, late

        try:
            with caller, contextlib.suppress(OSError):
                answer(caller, self.flusher, stop=self.stop, trusted=trusted)
        finally:
            self._slots.release()


def may_stop(caller: socket.socket) -> bool:
    """Whether the caller may end the agent: over a Unix socket our own user and root, over loopback who reaches it."""
    if caller.family != socket.AF_UNIX:
        return True
    content = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(content[4:8], "little") in (0, os.geteuid())


def _listening(family: int, address: str | tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(AT_ONCE)
    except OSError:
        listener.close()
        raise
    return listener
