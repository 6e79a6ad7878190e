"""Counts exchanges, and keeps those that matter: the slowest, those that failed, those that name a request."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from diag.packets.exchange import Exchange
from diag.redact import Redactor

MOST_SLOW, MOST_FAILED, MOST_NAMED = 100, 100, 200
MOST_GROUPS, MOST_LATENCIES = 300, 50_000
OTHERS = "(others)"


@dataclass(slots=True)
class _Group:
    count: int = 0
    failed: int = 0
    unanswered: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))

    def add(self, exchange: Exchange) -> None:
        self.count += 1
        self.failed += exchange.failed
        if exchange.latency_s is None:
            self.unanswered += 1
            return
        self.total_s += exchange.latency_s
        self.longest_s = max(self.longest_s, exchange.latency_s)
        if len(self.latencies) < MOST_LATENCIES:
            self.latencies.append(exchange.latency_s)

    def to_json(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "count": self.count,
            "failed": self.failed,
            "unanswered": self.unanswered,
            "p50_s": _share(ordered, 0.50),
            "p95_s": _share(ordered, 0.95),
            "max_s": round(self.longest_s, 6) if ordered else None,
            "total_s": round(self.total_s, 6),
        }


def _share(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 6) if ordered else None


class Tally:
    """All exchanges by protocol, and by what was asked; `what` passes the redactor when it comes in."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._protocols: dict[str, _Group] = {}
        self._groups: dict[str, dict[str, _Group]] = {}
        self._slow: list[tuple[float, int, Exchange]] = []
        self._failed: list[Exchange] = []
        self._named: list[Exchange] = []
        self._number = count()

    def add(self, exchange: Exchange) -> None:
        """Count one."""
        self._protocols.setdefault(exchange.protocol, _Group()).add(exchange)
        groups = self._groups.setdefault(exchange.protocol, {})
        what = self._grouped(exchange)
        groups.setdefault(what if what in groups or len(groups) < MOST_GROUPS else OTHERS, _Group()).add(exchange)
        if exchange.latency_s is not None:
            entry = (exchange.latency_s, next(self._number), exchange)
            (heapq.heappush if len(self._slow) < MOST_SLOW else heapq.heappushpop)(self._slow, entry)
        if (exchange.failed or exchange.latency_s is None) and len(self._failed) < MOST_FAILED:
            self._failed.append(exchange)
        if (exchange.link.request_id or exchange.link.trace_id) and len(self._named) < MOST_NAMED:
            self._named.append(exchange)

    @property
    def count(self) -> int:
        """How many exchanges there were."""
        return sum(group.count for group in self._protocols.values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(group.failed for group in self._protocols.values())

    def slowest(self) -> Exchange | None:
        """The one that took longest."""
        return max(self._slow)[2] if self._slow else None

    def named(self) -> tuple[Exchange, ...]:
        """Those that name a request or a trace."""
        return tuple(self._named)

    def to_json(self) -> dict[str, Any]:
        """`protocols`, `slowest`, `failed` and `named` of the summary."""
        slow = [entry[2] for entry in sorted(self._slow, reverse=True)]
        return {
            "protocols": [
                {"name": name, **group.to_json(), "asked": list(self._asked(name))}
                for name, group in sorted(self._protocols.items(), key=lambda item: -item[1].count)
            ],
            "slowest": [self.shown(one) for one in slow],
            "failed": [self.shown(one) for one in self._failed],
            "named": [self.shown(one) for one in self._named],
        }

    def shown(self, exchange: Exchange) -> dict[str, Any]:
        """One exchange, redacted."""
        text = self._redactor.text
        return {
            "protocol": exchange.protocol,
            "client": exchange.client,
            "server": exchange.server,
            "started": round(exchange.started, 6),
            "latency_s": None if exchange.latency_s is None else round(exchange.latency_s, 6),
            "what": self.what(exchange),
            "status": text(exchange.status),
            "failed": exchange.failed,
            "request_id": text(exchange.link.request_id) if exchange.link.request_id else None,
            "trace_id": exchange.link.trace_id,
            "span_id": exchange.link.span_id,
            "details": {name: text(value) for name, value in exchange.details},
        }

    def what(self, exchange: Exchange) -> str:
        """What was asked, redacted: a URL by its parameters, anything else as text."""
        scrub = self._redactor.url if exchange.protocol == "http" else self._redactor.text
        return scrub(exchange.what)

    def _asked(self, protocol: str) -> Iterator[dict[str, Any]]:
        groups = sorted(self._groups[protocol].items(), key=lambda item: -item[1].total_s)
        for what, group in groups:
            yield {"what": what, **group.to_json()}

    def _grouped(self, exchange: Exchange) -> str:
        what = exchange.what.partition("?")[0] if exchange.protocol == "http" else exchange.what
        return self._redactor.text(what)
