"""Running the viewer: gunicorn in this process, on a socket that is already ours."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from diag.errors import UsageError
from diag_server.errors import AddressTaken
from diag_server.follow import Follower
from diag_server.state import Viewer

GRACE_S = 3
STALL_S = 30  # how long a client may keep a thread without sending or taking a byte


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises AddressTaken and UsageError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _bounded(socket.create_server(address[:2], family=family, backlog=512))
    except socket.gaierror as error:
        raise UsageError(
            f"{host!r} is no address of this machine.", "Say --host 127.0.0.1 or --host 0.0.0.0."
        ) from error
    except OverflowError as error:
        raise UsageError(f"{port} is no port.", "Ports go from 0 (any free one) to 65535.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressTaken(f"Port {port} of {host} is in use.") from error
        raise AddressTaken(f"Nobody can listen on {host} port {port}: {error.strerror}.") from error


def _bounded(listener: socket.socket) -> socket.socket:
    """The listener, whose clients cannot stand still for ever: one that lost its network would keep a thread.

    gunicorn sets no limit to a request that has begun. An accepted socket inherits its listener's, on Linux.
    """
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STALL_S, 0))
    # A time that is up is EAGAIN in a socket that blocks, which gunicorn takes for a mistake.
    logging.getLogger("gunicorn.error").addFilter(_is_news)
    return listener


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))


def address_of(listener: socket.socket) -> str:
    """The address that a person opens."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: Flask, listener: socket.socket, threads: int, ready: Callable[[str], None]) -> int:
    """Answer until the process is told to stop; returns the exit code.

    `ready` hears the address once requests are answered. The listener is gunicorn's from here on.
    """
    viewer: Viewer = app.extensions["diag"]
    # A database connection must not be carried over a fork; the worker opens its own.
    viewer.engine.dispose()
    try:
        address = address_of(listener)
        _Gunicorn(app, listener.detach(), threads, lambda: ready(address)).run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, app: Flask, descriptor: int, threads: int, ready: Callable[[], None]) -> None:
        self._app = app
        self._follower: Follower = app.extensions["diag"].follower
        self._keeping: threading.Thread | None = None  # the worker's: a thread does not live on in a fork
        self._settings: dict[str, Any] = {
            "bind": f"fd://{descriptor}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": threads,
            "loglevel": "error",
            "graceful_timeout": GRACE_S,
            "control_socket_disable": True,  # its place is the home folder, shared by every gunicorn there
            "when_ready": lambda _arbiter: ready(),
            "post_worker_init": lambda _worker: self._begin(),
            "worker_exit": lambda _arbiter, _worker: self._end(),
            "proc_name": "diag serve",
        }
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings; one that this version does not know is left out."""
        for name, value in self._settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application."""
        return self._app

    def _begin(self) -> None:
        # Ctrl-C reaches the whole group; told twice at once, gunicorn's worker locks itself up in its own handler.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._keeping = threading.Thread(target=self._follower.run, name="diag keeps the index", daemon=True)
        self._keeping.start()

    def _end(self) -> None:
        self._follower.end()
        if self._keeping is not None:
            self._keeping.join(GRACE_S)
