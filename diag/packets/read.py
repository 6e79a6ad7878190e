"""Reads a capture file once: what the packets say becomes a summary, and what must not stay is blanked in place."""

from __future__ import annotations

import mmap
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diag.packets import conversation as tcp
from diag.packets.conversation import Conversation
from diag.packets.decoders.dns import Dns
from diag.packets.exchange import Exchange, Talk
from diag.packets.guess import DNS_PORT, decoder_of
from diag.packets.headers import ACK, RST, SYN, TCP, UDP, Segment, dissect
from diag.packets.pcap import Damaged, read_header, records
from diag.packets.tally import Tally
from diag.redact import Redactor

SCHEMA = "diag.packets/1"
MOST_CONVERSATIONS, MOST_SHOWN = 20_000, 300
MOST_EVENTS = 200
UNANSWERED_AFTER_S = 1.0
KNOWN = {22: "ssh", 53: "dns", 80: "http", 443: "tls", 3306: "mysql", 5432: "postgresql", 6379: "redis", 9092: "kafka"}

_COVERED = re.compile(r"\*+|\?{2,}")

Payload = Literal["none", "heads", "full"]


@dataclass(slots=True)
class Reading:
    """A capture while it is read, and afterwards what it says. `trouble` is why it was not read to its end."""

    payload: Payload
    tally: Tally
    packets: int = 0
    bytes: int = 0
    cut: int = 0
    copies: int = 0
    unread: int = 0
    untold: int = 0
    began: float | None = None
    ended: float = 0.0
    trouble: str = ""
    talks: list[Conversation] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """From the first packet to the last."""
        return self.ended - self.began if self.began is not None else 0.0

    def events(self) -> list[dict[str, Any]]:
        """What went wrong with connections, the most telling first."""
        return sorted((event for talk in self.talks for event in _events(talk, self.ended)), key=_weight)

    def to_json(self) -> dict[str, Any]:
        """The summary, without what only the collector knows."""
        events = self.events()
        counts: Counter[str] = Counter()
        for event in events:
            counts[event["event"]] += event["count"]
        talks = sorted(self.talks, key=lambda talk: -(talk.up.bytes + talk.down.bytes))
        return {
            "schema": SCHEMA,
            "payload": self.payload,
            "packets": self.packets,
            "bytes": self.bytes,
            "began": self.began,
            "duration_s": round(self.duration_s, 6),
            "cut": self.cut,
            "copies": self.copies,
            "unread": self.unread,
            "exchanges": self.tally.count,
            "failed_exchanges": self.tally.failed,
            **self.tally.to_json(),
            "events": events[:MOST_EVENTS],
            "event_counts": dict(counts),
            "conversations": [_shown(talk) for talk in talks[:MOST_SHOWN]],
            "conversation_count": len(self.talks) + self.untold,
        }


def read(path: Path, payload: Payload, redactor: Redactor) -> Reading:
    """Decode the file, and leave in it what `payload` says: of "none" headers only, of "heads" also what protocols say
    of themselves, of "full" everything.
    """
    reading = Reading(payload, Tally(redactor))
    with path.open("r+b") as file:
        if not path.stat().st_size:
            reading.trouble = "it is empty"
            return reading
        with mmap.mmap(file.fileno(), 0) as content:
            _Reader(reading, content, redactor).run()
            content.flush()
    return reading


class _Reader:
    def __init__(self, reading: Reading, content: mmap.mmap, redactor: Redactor) -> None:
        self._reading, self._content, self._redactor = reading, content, redactor
        self._talks: dict[bytes, tuple[Conversation, bool]] = {}

    def run(self) -> None:
        reading, content = self._reading, self._content
        try:
            header = read_header(content)
            for time, start, end, wire_size in records(content, header):
                reading.packets += 1
                reading.bytes += wire_size
                reading.cut += wire_size > end - start
                reading.began = time if reading.began is None else min(reading.began, time)
                reading.ended = max(reading.ended, time)
                segment = dissect(content, header.link, start, end, wire_size)
                self._take(segment, time, end)
        except Damaged as error:
            reading.trouble = str(error)
        for talk in reading.talks:
            self._end(talk)

    def _take(self, segment: Segment, time: float, end: int) -> None:
        data = self._content[segment.payload : segment.payload + segment.captured] if segment.captured else b""
        if self._reading.payload != "full" and end > segment.payload:
            self._content[segment.payload : end] = bytes(end - segment.payload)
        if segment.protocol not in (TCP, UDP):
            self._reading.unread += segment.protocol == -1
            return
        found = self._talks.get(segment.addresses + segment.ports) or self._meet(segment, time)
        if found is None:
            return
        talk, from_client = found
        if talk.ended and segment.flags & SYN and not segment.flags & ACK:
            found = self._meet(segment, time)  # the same ends begin anew
            if found is None:
                return
            talk, from_client = found
        if segment.interface != talk.interface:
            self._reading.copies += 1  # the same packet, further on its way
            return
        side = talk.up if from_client else talk.down
        side.packets += 1
        side.bytes += segment.size
        talk.last = time
        if segment.protocol == UDP:
            self._datagram(talk, from_client, segment, time, data)
            return
        for piece in tcp.follow(talk, from_client, segment, time, data):
            self._hear(talk, from_client, piece)
        if segment.flags & RST:
            self._end(talk)

    def _hear(self, talk: Conversation, from_client: bool, piece: tcp.Piece) -> None:
        if talk.decoder is None and talk.tries and piece.data:
            talk.decoder = decoder_of(from_client, piece.data, talk.server_port, self._voice(talk))
            talk.tries -= 1
            talk.protocol = talk.decoder.protocol if talk.decoder else ""
        if piece.data:
            talk.hear(from_client, piece.data, piece.time, piece.place)
        if piece.size > len(piece.data):
            talk.miss(from_client, piece.size - len(piece.data), piece.time)

    def _datagram(self, talk: Conversation, from_client: bool, segment: Segment, time: float, data: bytes) -> None:
        if talk.server_port != DNS_PORT:
            return
        if talk.decoder is None:
            talk.decoder, talk.protocol = Dns(self._voice(talk)), Dns.protocol
        if isinstance(talk.decoder, Dns):
            self._keep(segment.payload, self._clean(talk.decoder.datagram(from_client, data, time)))

    def _voice(self, talk: Conversation) -> Talk:
        return Talk(talk.client, talk.server, self._emit, self._keep, self._clean)

    def _emit(self, exchange: Exchange) -> None:
        self._reading.tally.add(exchange)

    def _keep(self, place: int, kept: bytes) -> None:
        if self._reading.payload == "heads":
            self._content[place : place + len(kept)] = kept

    def _clean(self, kept: bytes) -> bytes:
        """With stars for each line in which the redactor finds a secret."""
        if self._reading.payload != "heads":
            return kept
        return b"\n".join(self._line(line) for line in kept.split(b"\n"))

    def _line(self, line: bytes) -> bytes:
        text = _COVERED.sub("[redacted:value]", line.decode("latin-1"))  # stands for a value that is gone already
        return (
            line
            if self._redactor.text(text) == text
            else b"*" * len(line.rstrip(b"\r")) + line[len(line.rstrip(b"\r")) :]
        )

    def _meet(self, segment: Segment, time: float) -> tuple[Conversation, bool] | None:
        """A conversation that begins with this segment; None where there are too many already."""
        if len(self._reading.talks) >= MOST_CONVERSATIONS:
            self._reading.untold += bool(segment.flags & SYN and not segment.flags & ACK)
            return None
        half = len(segment.addresses) // 2
        source, target = segment.addresses[:half], segment.addresses[half:]
        source_port, target_port = int.from_bytes(segment.ports[:2], "big"), int.from_bytes(segment.ports[2:], "big")
        from_client = _asks(segment, source_port, target_port)
        ends = _address(source, source_port), _address(target, target_port)
        client, server = ends if from_client else ends[::-1]
        transport = "tcp" if segment.protocol == TCP else "udp"
        port = target_port if from_client else source_port
        talk = Conversation(transport, client, server, port, time, segment.interface, last=time)
        self._reading.talks.append(talk)
        back = target + source + segment.ports[2:] + segment.ports[:2]
        self._talks[segment.addresses + segment.ports] = talk, from_client
        self._talks[back] = talk, not from_client
        return talk, from_client

    def _end(self, talk: Conversation) -> None:
        for from_client, side in ((True, talk.up), (False, talk.down)):
            while side.pending:
                for piece in tcp.give_up(side):
                    self._hear(talk, from_client, piece)
        if talk.decoder:
            cause = {"": "", "closed": "connection closed"}.get(talk.ended, f"connection {talk.ended}")
            talk.decoder.end(talk.last, cause)
            talk.decoder = None
            talk.tries = 0


def _asks(segment: Segment, source_port: int, target_port: int) -> bool:
    """Whether the sender is the client: it opens, or, where that was before, it has the higher port."""
    if segment.protocol == TCP and segment.flags & SYN:
        return not segment.flags & ACK
    if (source_port in KNOWN) != (target_port in KNOWN):
        return target_port in KNOWN
    return source_port >= target_port


def _address(address: bytes, port: int) -> str:
    if len(address) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, address)}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"


_ORDER = ("refused", "unanswered", "reset", "zero window", "retransmission", "out of order")


def _weight(event: dict[str, Any]) -> tuple[int, int]:
    return _ORDER.index(event["event"]), -event["count"]


def _events(talk: Conversation, ended: float) -> Iterator[dict[str, Any]]:
    if talk.transport != "tcp":
        return
    unanswered = talk.asked_at is not None and talk.opened_after_s is None and not talk.refused
    sides = ((talk.client, talk.up), (talk.server, talk.down))
    counts: list[tuple[str, str, int]] = [("refused", talk.server, int(talk.refused))]
    if unanswered and talk.asked_at is not None and ended - talk.asked_at >= UNANSWERED_AFTER_S:
        counts.append(("unanswered", talk.server, 1))
    for who, side in sides:
        counts.append(("reset", who, 0 if talk.refused else side.resets))
        counts += [("zero window", who, side.zero_windows), ("retransmission", who, side.retransmitted)]
        counts.append(("out of order", who, side.reordered))
    for event, who, number in counts:
        if number:
            yield {"event": event, "by": who, "client": talk.client, "server": talk.server, "count": number}


def _shown(talk: Conversation) -> dict[str, Any]:
    return {
        "transport": talk.transport,
        "protocol": talk.protocol,
        "client": talk.client,
        "server": talk.server,
        "first": round(talk.first, 6),
        "duration_s": round(talk.last - talk.first, 6),
        "up": {"packets": talk.up.packets, "bytes": talk.up.bytes},
        "down": {"packets": talk.down.packets, "bytes": talk.down.bytes},
        "opened_after_s": None if talk.opened_after_s is None else round(talk.opened_after_s, 6),
        "retransmitted": talk.up.retransmitted + talk.down.retransmitted,
        "missing_bytes": talk.up.missing_bytes + talk.down.missing_bytes,
        "ended": talk.ended,
    }
