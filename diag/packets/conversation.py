"""TCP as the wire shows it: bytes in their order, and what went wrong with them. Everything kept has a limit.

What counts as a retransmission is what Wireshark counts (packet-tcp.c, tcp_analyze_sequence_number), but that one calls
bytes which were seen before out of order where they come again within 3 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from diag.packets.exchange import Messages
from diag.packets.headers import ACK, FIN, RST, SYN, Segment

REORDERED_S = 0.003  # a hole that is filled sooner was a detour, not a loss
MOST_PENDING, PENDING_BYTES = 64, 1 << 18
TRIES = 4  # so many segments without a known protocol, and the conversation is left alone
_HALF, _FULL = 1 << 31, 1 << 32


class Piece(NamedTuple):
    """Bytes of a segment: those that were captured, where the file holds them, and how many there were."""

    sequence: int
    time: float
    data: bytes
    place: int
    size: int


@dataclass(slots=True)
class Side:
    """One direction of a conversation."""

    packets: int = 0
    bytes: int = 0
    retransmitted: int = 0
    reordered: int = 0
    resets: int = 0
    zero_windows: int = 0
    missing_bytes: int = 0
    next: int | None = None  # the sequence number that is expected
    acknowledged: int | None = None  # by the other side
    window: int = 1
    pending: list[Piece] = field(default_factory=list)
    pending_bytes: int = 0
    finished: bool = False


@dataclass(slots=True, eq=False)
class Conversation:
    """Two ends. `client` sent SYN, or, where that was before the capture, has the higher port."""

    transport: str
    client: str
    server: str
    server_port: int
    first: float
    interface: int
    last: float = 0.0
    protocol: str = ""
    decoder: Messages | None = None
    tries: int = TRIES
    up: Side = field(default_factory=Side)  # from the client
    down: Side = field(default_factory=Side)
    asked_at: float | None = None  # the first SYN
    opened_after_s: float | None = None
    refused: bool = False
    ended: str = ""

    def hear(self, from_client: bool, data: bytes, time: float, place: int) -> None:
        """What comes next in one direction."""
        if self.decoder:
            self.decoder.hear(from_client, data, time, place)

    def miss(self, from_client: bool, size: int, time: float) -> None:
        """What came next, and was not captured."""
        side = self.up if from_client else self.down
        side.missing_bytes += size
        if self.decoder:
            self.decoder.miss(from_client, size, time)


def follow(talk: Conversation, from_client: bool, segment: Segment, time: float, piece: bytes) -> list[Piece]:
    """Note a TCP segment; returns what it makes readable in its direction, in order. `piece` is its payload.

    A returned piece of more `size` than `data` has a hole at its end; one without data is a hole.
    """
    side, other = (talk.up, talk.down) if from_client else (talk.down, talk.up)
    flags, window = segment.flags, segment.window
    if flags & RST:
        _reset(talk, side, from_client)
        return []
    if flags & SYN:
        _open(talk, side, from_client, segment, time)
    elif window == 0 and side.window:
        side.zero_windows += 1
    side.window = window
    if flags & ACK:
        other.acknowledged = segment.acknowledged
    ready: list[Piece] = []
    if segment.size:
        sequence = segment.sequence + 1 if flags & SYN else segment.sequence
        ready = _arrive(side, Piece(sequence % _FULL, time, piece, segment.payload, segment.size))
    if flags & FIN:
        _finish(talk, side, segment)
    return ready


def _reset(talk: Conversation, side: Side, from_client: bool) -> None:
    side.resets += 1
    if not from_client and talk.asked_at is not None and talk.opened_after_s is None:
        talk.refused = True
    talk.ended = talk.ended or ("refused" if talk.refused else "reset")


def _open(talk: Conversation, side: Side, from_client: bool, segment: Segment, time: float) -> None:
    after = (segment.sequence + 1) % _FULL
    if side.next == after:
        side.retransmitted += 1
        return
    side.next = after
    if from_client:
        talk.asked_at = time if talk.asked_at is None else talk.asked_at
    elif talk.asked_at is not None and talk.opened_after_s is None:
        talk.opened_after_s = time - talk.asked_at


def _finish(talk: Conversation, side: Side, segment: Segment) -> None:
    """A FIN is a byte of the sequence; sent again, it counts as a retransmission unless data did already."""
    if side.finished:
        side.retransmitted += not segment.size
        return
    side.finished = True
    if side.next is not None and not side.pending:
        side.next = (side.next + 1) % _FULL
    if talk.up.finished and talk.down.finished:
        talk.ended = talk.ended or "closed"


def _ahead(side: Side, sequence: int) -> int:
    """How far the number is from the expected one; negative where it was passed."""
    assert side.next is not None
    return (sequence - side.next + _HALF) % _FULL - _HALF


def _arrive(side: Side, piece: Piece) -> list[Piece]:
    if side.next is None:
        side.next = piece.sequence
    ahead = _ahead(side, piece.sequence)
    if ahead + piece.size <= 0:
        side.retransmitted += not (piece.size == 1 and ahead == -1)  # that one keeps a connection alive
        return []
    if ahead > 0:
        return _set_aside(side, piece)
    if ahead < 0:
        side.retransmitted += 1
        piece = Piece(side.next, piece.time, piece.data[-ahead:], piece.place - ahead, piece.size + ahead)
    elif side.pending:
        late = piece.time - side.pending[0].time > REORDERED_S
        side.retransmitted += late
        side.reordered += not late
    side.next = (piece.sequence + piece.size) % _FULL
    return [piece, *_drain(side)]


def _set_aside(side: Side, piece: Piece) -> list[Piece]:
    """Bytes behind a hole wait for it, unless their receiver has what is in the hole: then it was not captured."""
    if any(one.sequence == piece.sequence for one in side.pending):
        side.retransmitted += 1
        return []
    if side.acknowledged is not None and _ahead(side, side.acknowledged) > 0 and not side.pending:
        return [_jump(side, piece.sequence, piece.time), *_take(side, piece)]
    side.pending.append(piece)
    side.pending_bytes += len(piece.data)
    if len(side.pending) > MOST_PENDING or side.pending_bytes > PENDING_BYTES:
        return give_up(side)
    return []


def give_up(side: Side) -> list[Piece]:
    """What waited behind a hole that nothing fills."""
    if not side.pending:
        return []
    side.pending.sort(key=lambda one: _ahead(side, one.sequence))
    first = side.pending[0]
    return [_jump(side, first.sequence, first.time), *_drain(side)]


def _jump(side: Side, sequence: int, time: float) -> Piece:
    assert side.next is not None
    hole = Piece(side.next, time, b"", 0, _ahead(side, sequence))
    side.next = sequence
    return hole


def _take(side: Side, piece: Piece) -> list[Piece]:
    side.next = (piece.sequence + piece.size) % _FULL
    return [piece]


def _drain(side: Side) -> list[Piece]:
    """The pieces that follow now, without what was had already."""
    if not side.pending:
        return []
    ready: list[Piece] = []
    side.pending.sort(key=lambda one: _ahead(side, one.sequence))
    while side.pending and (ahead := _ahead(side, side.pending[0].sequence)) <= 0:
        piece = side.pending.pop(0)
        side.pending_bytes -= len(piece.data)
        if ahead + piece.size > 0:
            begin = (piece.sequence - ahead) % _FULL
            ready += _take(side, Piece(begin, piece.time, piece.data[-ahead:], piece.place - ahead, piece.size + ahead))
    return ready
