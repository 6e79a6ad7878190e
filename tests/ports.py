"""Ports for servers that are started later: nobody else gets them meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections until a server of ours listens on it, until the context ends.

    It stays bound, by a socket that does not listen. Linux lets a server bind beside that where both have SO_REUSEADDR
    (socket(7)), and gives such a port to nobody who asks for any.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
