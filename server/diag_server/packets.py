"""A summary of packets as the capture page shows it: everything typed, bounded and named before a template sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diag_server import hostile
from diag_server.errors import BadReport

EXCHANGES_LIMIT, ROWS_LIMIT, PROTOCOLS_LIMIT = 200, 300, 20
TEXT_LIMIT = 400
_EVENT_WORDS = {
    "refused": "connect refused",
    "unanswered": "connect unanswered",
    "reset": "reset",
    "zero window": "receiver full (zero window)",
    "retransmission": "sent again",
    "out of order": "out of order",
}
_PAYLOADS = {
    "none": "headers only",
    "heads": "headers and what protocols say of themselves; values and bodies are blanked",
    "full": "whole payloads, not redacted",
}


@dataclass(frozen=True, slots=True)
class ExchangeRow:
    """A question and its answer. `details` are short words beside it."""

    protocol: str
    what: str
    status: str
    failed: bool
    latency_s: float | None
    at_s: float | None
    client: str
    server: str
    request_id: str
    trace_id: str
    details: str


@dataclass(frozen=True, slots=True)
class FigureRow:
    """How often something was asked, how often that failed, and how long it took."""

    name: str
    count: int
    failed: int
    unanswered: int
    p50_s: float | None
    p95_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class ProtocolRow:
    """A protocol with what was asked in it, the most time first."""

    figures: FigureRow
    asked: list[FigureRow]


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that went wrong with a connection, and whose packets it was."""

    event: str
    by: str
    client: str
    server: str
    count: int


@dataclass(frozen=True, slots=True)
class TalkRow:
    """A conversation."""

    client: str
    server: str
    protocol: str
    up_packets: int
    up_bytes: int
    down_packets: int
    down_bytes: int
    at_s: float | None
    duration_s: float | None
    opened_after_s: float | None
    retransmitted: int
    ended: str


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A protocol that tshark sees, and how deep it is carried by others."""

    name: str
    depth: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PacketsView:
    """All that the section shows. `warnings` are what a reader has to know before he believes the rest."""

    packets: int
    bytes: int
    duration_s: float | None
    conversations: int
    exchanges: int
    failed_exchanges: int
    filter: str
    engine: str
    snaplen: int
    payload: str
    lost: int
    warnings: list[str]
    counts: list[tuple[str, int]]
    slowest: list[ExchangeRow]
    failed: list[ExchangeRow]
    named: list[ExchangeRow]
    protocols: list[ProtocolRow]
    events: list[EventRow]
    talks: list[TalkRow]
    layers: list[LayerRow]


def read(data: bytes) -> PacketsView:
    """The bytes of `summary.json`, as rows. Raises BadReport."""
    summary = hostile.parse_json(data)
    if not isinstance(summary, dict):
        raise BadReport("The summary is not a JSON object.")
    return packets_view(summary)


def packets_view(summary: Mapping[str, Any]) -> PacketsView:
    """The summary, whatever it is, as rows."""
    began = _number(summary.get("began"))
    exchanges = {name: list(_exchanges(summary.get(name), began)) for name in ("slowest", "failed", "named")}
    counts = hostile.mapping(summary.get("event_counts"))
    return PacketsView(
        packets=_count(summary.get("packets")),
        bytes=_count(summary.get("bytes")),
        duration_s=_number(summary.get("duration_s")),
        conversations=_count(summary.get("conversation_count")),
        exchanges=_count(summary.get("exchanges")),
        failed_exchanges=_count(summary.get("failed_exchanges")),
        filter=hostile.text(summary.get("filter"), TEXT_LIMIT),
        engine=hostile.text(summary.get("engine"), 60),
        snaplen=_count(summary.get("snaplen")),
        payload=_PAYLOADS.get(str(summary.get("payload")), "not said"),
        lost=_count(summary.get("dropped")),
        warnings=list(_warnings(summary)),
        counts=[(words, _count(counts.get(name))) for name, words in _EVENT_WORDS.items() if _count(counts.get(name))],
        protocols=list(_protocols(summary.get("protocols"))),
        events=list(_events(summary.get("events"))),
        talks=list(_talks(summary.get("conversations"), began)),
        layers=list(_layers(summary.get("layers"))),
        **exchanges,
    )


def _warnings(summary: Mapping[str, Any]) -> Iterator[str]:
    if summary.get("payload") == "full":
        yield "The file holds whole payloads, as they were sent: passwords, cookies and personal data among them."
    if lost := _count(summary.get("dropped")):
        yield f"{lost} packets came too fast and are missing, so exchanges may seem unanswered."
    if summary.get("shared") is True:
        yield "The instance shares its network with others of its machine: their traffic is among it."
    if forgotten := _count(summary.get("forgotten")):
        yield f"The ring let go of the first {forgotten} packets."
    if copies := _count(summary.get("copies")):
        yield f"{copies} packets were seen again on another interface and are counted once."


def _exchanges(value: Any, began: float | None) -> Iterator[ExchangeRow]:
    for one in list(hostile.mappings(value))[:EXCHANGES_LIMIT]:
        details = [
            f"{hostile.text(name, 40)} {hostile.text(word, 200)}"
            for name, word in list(hostile.mapping(one.get("details")).items())[:5]
        ]
        yield ExchangeRow(
            protocol=hostile.text(one.get("protocol"), 20),
            what=hostile.text(one.get("what"), TEXT_LIMIT) or "unknown",
            status=hostile.text(one.get("status"), 60),
            failed=one.get("failed") is True,
            latency_s=_number(one.get("latency_s")),
            at_s=_since(one.get("started"), began),
            client=hostile.text(one.get("client"), 60),
            server=hostile.text(one.get("server"), 60),
            request_id=hostile.text(one.get("request_id"), 200),
            trace_id=hostile.text(one.get("trace_id"), 64),
            details=", ".join(details),
        )


def _figures(one: Mapping[str, Any], name: str) -> FigureRow:
    return FigureRow(
        hostile.text(one.get(name), TEXT_LIMIT) or "unknown",
        _count(one.get("count")),
        _count(one.get("failed")),
        _count(one.get("unanswered")),
        _number(one.get("p50_s")),
        _number(one.get("p95_s")),
        _number(one.get("max_s")),
    )


def _protocols(value: Any) -> Iterator[ProtocolRow]:
    for one in list(hostile.mappings(value))[:PROTOCOLS_LIMIT]:
        asked = [_figures(row, "what") for row in list(hostile.mappings(one.get("asked")))[:ROWS_LIMIT]]
        yield ProtocolRow(_figures(one, "name"), asked)


def _events(value: Any) -> Iterator[EventRow]:
    for one in list(hostile.mappings(value))[:ROWS_LIMIT]:
        name = hostile.text(one.get("event"), 40)
        by, client, server = (hostile.text(one.get(end), 60) for end in ("by", "client", "server"))
        yield EventRow(_EVENT_WORDS.get(name, name), by, client, server, _count(one.get("count")))


def _talks(value: Any, began: float | None) -> Iterator[TalkRow]:
    for one in list(hostile.mappings(value))[:ROWS_LIMIT]:
        up, down = hostile.mapping(one.get("up")), hostile.mapping(one.get("down"))
        yield TalkRow(
            client=hostile.text(one.get("client"), 60),
            server=hostile.text(one.get("server"), 60),
            protocol=hostile.text(one.get("protocol"), 20) or hostile.text(one.get("transport"), 20),
            up_packets=_count(up.get("packets")),
            up_bytes=_count(up.get("bytes")),
            down_packets=_count(down.get("packets")),
            down_bytes=_count(down.get("bytes")),
            at_s=_since(one.get("first"), began),
            duration_s=_number(one.get("duration_s")),
            opened_after_s=_number(one.get("opened_after_s")),
            retransmitted=_count(one.get("retransmitted")),
            ended=hostile.text(one.get("ended"), 20),
        )


def _layers(value: Any) -> Iterator[LayerRow]:
    for one in list(hostile.mappings(value))[:ROWS_LIMIT]:
        depth = min(_count(one.get("depth")), 20)
        yield LayerRow(hostile.text(one.get("name"), 40), depth, _count(one.get("packets")), _count(one.get("bytes")))


def _count(value: Any) -> int:
    found = hostile.whole(value)
    return found if found is not None and 0 <= found < 1 << 63 else 0


def _number(value: Any) -> float | None:
    found = hostile.number(value)
    return float(found) if found is not None and abs(found) < 1e15 else None


def _since(value: Any, began: float | None) -> float | None:
    moment = _number(value)
    return None if moment is None or began is None else max(0.0, moment - began)
