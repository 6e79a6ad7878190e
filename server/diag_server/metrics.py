"""What the viewer knows, for Prometheus: the account of each agent, and the viewer itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from diag import __version__
from diag_server.accounts import Agent

AGENT = ["agent", "host"]
KINDS_LIMIT = 50  # kinds come from manifests, and each is a time series


class Tally:
    """Counts by name, from several threads."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count one more."""
        with self._changing:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """The counts so far."""
        with self._changing:
            return dict(sorted(self._counts.items()))


@dataclass(frozen=True, slots=True, eq=False)  # a registry keeps its collectors by identity
class Facts:
    """What one scrape tells."""

    agents: list[Agent]
    unread: int
    captures: Mapping[str, int]  # in the index, by kind
    uploads: Mapping[str, int]  # by HTTP status
    looked_s_ago: float
    reachable: bool

    def collect(self) -> Iterator[Metric]:
        """The metrics, as a registry asks a collector for them."""
        yield from _counts(self.agents)
        yield from _ages(self.agents)
        yield _viewer_info()
        yield _by(CounterMetricFamily, "uploads", "Uploads answered, by HTTP status", "status", self.uploads)
        yield _by(GaugeMetricFamily, "captures", "Captures in the index, by kind", "kind", _largest(self.captures))
        yield _one("agents", "Agents that were heard of in the last 30 days", len(self.agents))
        yield _one("agents_unread", "Agents whose account is still to be read", self.unread)
        yield _one(
            "look_age_seconds", "Age of the index: seconds since the last look into the store", self.looked_s_ago
        )
        yield _one("store_reachable", "1 where the last look into the store went well", int(self.reachable))


def exposed(facts: Facts, accept: str) -> tuple[bytes, str]:
    """The metrics as text in the format that the scraper accepts, with its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(facts)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _counts(agents: Iterable[Agent]) -> Iterator[Metric]:
    received = CounterMetricFamily("diag_agent_captures_received", "Captures that began", labels=AGENT)
    stored = CounterMetricFamily("diag_agent_captures_stored", "Captures that the store has", labels=AGENT)
    pending = GaugeMetricFamily("diag_agent_captures_pending", "Captures that wait in the spool", labels=AGENT)
    aside = GaugeMetricFamily("diag_agent_captures_quarantined", "Captures that were set aside", labels=AGENT)
    lost = CounterMetricFamily("diag_agent_captures_dropped", "Captures lost, by reason", labels=[*AGENT, "reason"])
    for one in agents:
        told, labels = one.account, _labels(one)
        received.add_metric(labels, told.received)
        stored.add_metric(labels, told.stored)
        pending.add_metric(labels, told.pending)
        aside.add_metric(labels, told.quarantined)
        for reason, count in told.dropped.items():
            lost.add_metric([*labels, reason], count)
    yield from (received, stored, pending, aside, lost)


def _ages(agents: Iterable[Agent]) -> Iterator[Metric]:
    oldest = GaugeMetricFamily(
        "diag_agent_oldest_pending_seconds", "How long the oldest capture has waited; 0 where none waits", labels=AGENT
    )
    heard = GaugeMetricFamily(
        "diag_agent_last_report_timestamp_seconds", "When the agent told this, by its own clock", labels=AGENT
    )
    for one in agents:
        oldest.add_metric(_labels(one), one.oldest_pending_s)
        heard.add_metric(_labels(one), one.account.time.timestamp())
    yield from (oldest, heard)


def _labels(agent: Agent) -> list[str]:
    return [agent.account.agent_id, agent.account.host]


def _viewer_info() -> Metric:
    return InfoMetricFamily("diag_viewer", "The viewer", {"version": __version__})


def _by(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    words: str,
    label: str,
    counts: Mapping[str, int],
) -> Metric:
    family = kind(f"diag_viewer_{name}", words, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _one(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"diag_viewer_{name}", words, value)


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    largest = Counter(counts).most_common()
    rest = sum(count for _, count in largest[KINDS_LIMIT:])
    return dict(largest[:KINDS_LIMIT]) | ({"other": rest} if rest else {})
