"""Packets into a capture: decoded once, blanked as far as was asked, with a summary that passes the redactor."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from diag.capture.take import During, File, Refined
from diag.collectors.collector import Collected
from diag.model import Link, Missing
from diag.packets.exchange import Exchange
from diag.packets.read import Payload, Reading, read
from diag.profiles.headline import counted
from diag.redact import Redactor

LONGEST = 80  # characters of what was asked, in the line of the slowest exchange
NAME, SUMMARY = "packets.pcap", "summary.json"
_FACTS = ("captured", "forgotten", "dropped", "dropped_by_interface", "shared", "snaplen", "standing", "layers")
_NOUNS = ("reset", "retransmission")  # of the names of events those that are counted with an s
_PAYLOADS = {
    "none": "headers only",
    "heads": "headers and heads of protocols, values blanked",
    "full": "WHOLE PAYLOADS, not redacted",
}


def refining(payload: Payload) -> Callable[[Collected, During], Refined]:
    """What makes a capture of the packets that a collector brought."""
    return lambda collected, during: refine(collected, during, payload)


def refine(collected: Collected, during: During, payload: Payload) -> Refined:
    """The packets as they may be kept, their summary, and what it says in three sentences."""
    made, redactor = collected.files[0], Redactor(environment=during.environment)
    reading = read(made.path, payload, redactor)
    kept = made.path.with_name(NAME)
    made.path.rename(kept)
    facts: dict[str, Any] = {name: collected.facts.get(name) for name in _FACTS}
    facts |= {"engine": collected.engine, "filter": redactor.text(collected.facts.get("filter") or "")}
    told = reading.to_json()
    summary = json.dumps({**told, **facts}, ensure_ascii=False).encode("utf-8", "replace")
    missing = (Missing("packets", f"read up to a damaged place: {reading.trouble}"),) if reading.trouble else ()
    return Refined(
        files=(
            File(SUMMARY, "summary", "diag-packets", "application/json", summary),
            File(NAME, made.kind, made.format, made.content_type, kept),
        ),
        title=_title(told),
        facts=_facts(reading, told, collected),
        missing=missing,
        redactions=redactor.counts(),
        links=tuple(_link(exchange, redactor) for exchange in reading.tally.named()),
    )


def _link(exchange: Exchange, redactor: Redactor) -> Link:
    link = exchange.link
    return Link(redactor.text(link.request_id) if link.request_id else None, link.trace_id, link.span_id)


def _title(told: dict[str, Any]) -> str:
    protocols = [one["name"] for one in told["protocols"][:3]]
    spoken = f", {', '.join(protocols)}" if protocols else ""
    return f"{told['packets']} packets in {told['duration_s']:.1f} s{spoken}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _facts(reading: Reading, told: dict[str, Any], collected: Collected) -> tuple[str, str, str]:
    """What it was talking to, what was slow, what failed."""
    dropped = collected.facts.get("dropped")
    lost = f", {dropped} lost" if dropped else ""
    packets, talks = counted(told["packets"], "packet"), counted(told["conversation_count"], "conversation")
    talked = f"{packets}{lost}, {talks}, {counted(told['exchanges'], 'exchange')} decoded"
    slowest = reading.tally.slowest()
    slow = "nothing was decoded that has an answer"
    if slowest and slowest.latency_s is not None:
        slow = f"slowest {slowest.latency_s * 1000:.1f} ms: {slowest.protocol} {_cut(reading.tally.what(slowest))}"
    events = [
        counted(number, name) if name in _NOUNS else f"{number} {name}" for name, number in told["event_counts"].items()
    ]
    troubles = ", ".join(events) or "no resets or retransmissions"
    return (
        f"{talked}; {_PAYLOADS[reading.payload]}",
        slow,
        f"{counted(told['failed_exchanges'], 'exchange')} failed; {troubles}",
    )
