"""The text of a dying process stays in its socket, which is what holds the process, until everything is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from diag.agent.attend import next_message
from diag.agent.freeze import waiting
from diag.probe.diag_probe import layout

# What faulthandler writes of one thread in no Python function, as where an exit handler is a C function.
TEXT = [
    *(b"Fatal Python error: ", b"Aborted", b"\n\n", b"Current thread 0x", b"00007fc92900db80"),
    *(b" (most recent call first):\n", b"  <no Python frame>\n"),
]
LIMIT_S = 60.0

Link = tuple[socket.socket, socket.socket]


@pytest.fixture
def link() -> Iterator[Link]:
    """The probe's end, as narrow as the probe makes it, and the agent's."""
    probe, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    probe.setblocking(False)
    with probe, agent:
        yield probe, agent


def written(probe: socket.socket) -> int:
    """How many packets of the text the socket takes before the writer has to wait."""
    for number, packet in enumerate(TEXT):
        try:
            probe.send(packet)
        except BlockingIOError:
            return number
    return len(TEXT)


def test_the_shortest_text_is_too_long_for_the_socket(link: Link) -> None:
    """Its writer waits, as long as nobody takes a packet: looking at them takes none."""
    probe, agent = link

    taken = written(probe)
    first, _ = next_message(agent)
    seen = waiting(agent)

    assert taken < len(TEXT)
    assert (first, seen) == (TEXT[0], b"".join(TEXT[:taken]))
    with pytest.raises(BlockingIOError):
        probe.send(TEXT[taken])
    agent.settimeout(LIMIT_S)
    assert agent.recv(65536) == TEXT[0]


def test_a_message_of_the_probe_is_taken(link: Link) -> None:
    """What means no freeze makes room for what follows."""
    probe, agent = link
    probe.send(layout.EVENT + b"\0")
    probe.send(TEXT[0])

    assert [next_message(agent)[0] for _ in range(3)] == [layout.EVENT + b"\0", TEXT[0], TEXT[0]]
