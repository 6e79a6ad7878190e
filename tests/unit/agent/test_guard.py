"""The guard's memory of stderr."""

from __future__ import annotations

import socket

import pytest

from diag.agent.guard import TAIL_SIZE, StderrTail, _stands_frozen
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


def test_looking_for_a_freeze_takes_nothing_away() -> None:
    """An agent that is slow to start still hears who has linked itself; faulthandler's text is seen behind that."""
    said = [layout.HELLO + b"who it is", layout.EVENT + b"\0", b"Fatal Python error", b": Aborted"]
    link, probe = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with link, probe:
        seen = []
        for packet in said:
            probe.send(packet)
            seen.append(_stands_frozen(link))
        assert seen == [False, False, True, True]
        assert _stands_frozen(link)
        assert [link.recv(65536, socket.MSG_DONTWAIT) for _ in said] == said
        assert not _stands_frozen(link)
        probe.close()
        assert not _stands_frozen(link)
