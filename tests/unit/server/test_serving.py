"""The socket that the viewer listens on."""

from __future__ import annotations

import logging
import socket

import pytest
from diag_server import serving
from machine import TIMEOUT_S


def test_a_client_that_stands_still_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lost the network in the middle of an upload keeps no thread for ever."""
    monkeypatch.setattr(serving, "STALL_S", 1)
    with serving.listen("127.0.0.1", 0) as listener:
        listener.settimeout(TIMEOUT_S)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            accepted.setblocking(True)  # as gunicorn has it while it answers

            with pytest.raises(BlockingIOError) as caught:
                accepted.recv(1)

    told = logging.LogRecord("gunicorn.error", logging.ERROR, "", 0, "", (), (BlockingIOError, caught.value, None))
    assert not logging.getLogger("gunicorn.error").filter(told)
