"""The guard's memory of stderr, and what it does with messages that an agent does not read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from diag.agent.guard import HEARD, TAIL_SIZE, Guard, StderrTail
from diag.agent.node_options import ReportLines
from diag.probe.diag_probe import layout


@pytest.mark.parametrize("sizes", [(10,), (TAIL_SIZE,), (TAIL_SIZE - 3, 10), (3 * TAIL_SIZE + 7,), (1000,) * 200])
def test_the_tail_is_the_end_of_what_was_written(sizes: tuple[int, ...]) -> None:
    """However it is cut into writes, the tail is the end of the stream, from the start of a line."""
    tail, stream = StderrTail(), b""
    for size in sizes:
        piece = (b"line %07d\n" * (size // 13 + 1))[:size]
        piece = piece.replace(b"%07d", b"%07d" % len(stream))
        tail.append(piece)
        stream += piece

    text = tail.text().encode()

    assert stream.endswith(text)
    assert len(text) == len(stream) if len(stream) <= TAIL_SIZE else TAIL_SIZE - 20 < len(text) <= TAIL_SIZE


def test_a_hello_that_the_agent_is_too_slow_for_is_passed_on() -> None:
    """Messages make way for faulthandler's text; the one that no black box has reaches the agent in another way."""
    link, probe = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    guard = Guard(None, theirs, None, StderrTail(), ReportLines(Path("/report")))
    with link, probe, agent, theirs:
        for message in (layout.HELLO + b"box", layout.EVENT + b"\0"):
            probe.send(message)

        assert not guard._stands_frozen(link)
        assert agent.recv(100) == HEARD + os.fstat(link.fileno()).st_ino.to_bytes(8, "little") + b"box"
        probe.send(b"Fatal Python error")
        assert guard._stands_frozen(link)
        assert link.recv(100) == b"Fatal Python error"
