"""What agents tell about their spools: checked as it comes from outside, and judged as a person would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from diag.model import moment_of, now, parse_stamp, stamp
from diag.upload.accounts import LATE_S, SCHEMA
from diag_server import hostile
from diag_server.errors import BadAccount, BadReport

SIZE_LIMIT = 64 * 1024
REASONS_LIMIT = 32
NUMBER_LIMIT = 2**53  # what JSON and a metric can say exactly
SILENT_S = 7200.0  # an agent whose captures wait is heard of every hour at least, whatever its store allows
RECENT = timedelta(days=1)
OLD = timedelta(days=30)
APART = timedelta(hours=2)
# A key that is further ahead is a clock's mistake, and would hide what the agent tells until then.
AHEAD = timedelta(hours=1)

# What may be wrong with an agent, worst first, in the words of a page.
TROUBLES = {
    "late": "captures wait for more than 10 minutes",
    "silent": "not heard of while captures wait",
    "dropped": "lost captures in the last day",
    "quarantined": "captures are set aside",
    "sum": "the numbers do not add up",
}


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one agent's spool, as it was told last."""

    agent_id: str
    account_id: str
    host: str
    version: str
    time: datetime
    received: int
    stored: int
    pending: int
    quarantined: int
    dropped: Mapping[str, int]
    oldest_pending_s: float | None
    dropped_time: datetime | None
    trouble: str

    @property
    def holds(self) -> bool:
        """Whether what was received is what was stored, waits, was set aside and was lost."""
        return self.received == self.stored + self.pending + self.quarantined + sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as it stands at a moment: its account, and what is wrong with it (names of TROUBLES)."""

    account: Account
    oldest_pending_s: float  # counted on since the account was told; 0 where nothing waits
    troubles: tuple[str, ...]
    old: bool

    def to_json(self) -> dict[str, Any]:
        """A row of `GET /api/v1/agents`."""
        told = self.account
        return {
            "agent_id": told.agent_id,
            "host": told.host,
            "version": told.version,
            "time": stamp(told.time),
            "received": told.received,
            "stored": told.stored,
            "pending": told.pending,
            "quarantined": told.quarantined,
            "dropped": dict(told.dropped),
            "oldest_pending_s": self.oldest_pending_s if told.pending else None,
            "dropped_time": stamp(told.dropped_time) if told.dropped_time else None,
            "holds": told.holds,
            "troubles": list(self.troubles),
            "trouble": told.trouble,
        }


def read_account(data: bytes, agent_id: str, account_id: str) -> Account:
    """The account that stands under this key. Raises BadAccount with what is wrong."""
    try:
        document = hostile.parse_json(data)
    except BadReport as error:
        raise BadAccount(f"The account cannot be read: {error}") from error
    try:
        account = _account(document, account_id)
    except KeyError as error:
        raise BadAccount(f"The account has no {error.args[0]!r}.") from error
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BadAccount(f"The account does not have the shape of one: {error}.") from error
    if moment_of(account_id) - now() > AHEAD:
        raise BadAccount(
            "The account's key is in the future.", "Set the clock of the agent's machine, and of this one."
        )
    if account.agent_id != agent_id:
        raise BadAccount("The account is another agent's than its key says.")
    if abs(account.time - moment_of(account_id)) > APART:
        raise BadAccount("The account's time is far from the time in its key.")
    return account


def agent_at(account: Account, moment: datetime) -> Agent:
    """How the agent stands at that moment."""
    silent_s = max(0.0, (moment - account.time).total_seconds())
    oldest_s = (account.oldest_pending_s or 0.0) + silent_s if account.pending else 0.0
    found = tuple(_troubles(account, moment, oldest_s, silent_s))
    return Agent(account, round(oldest_s, 3), found, silent_s > OLD.total_seconds())


def _troubles(account: Account, moment: datetime, oldest_s: float, silent_s: float) -> Iterator[str]:
    if oldest_s > LATE_S:
        yield "late"
    if account.pending and silent_s > SILENT_S:
        yield "silent"
    if account.dropped_time and moment - account.dropped_time < RECENT:
        yield "dropped"
    if account.quarantined:
        yield "quarantined"
    if not account.holds:
        yield "sum"


def _account(document: Any, account_id: str) -> Account:
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema is not {SCHEMA}")
    agent, dropped = document["agent"], document["dropped"]
    if len(dropped) > REASONS_LIMIT:
        raise ValueError("dropped has too many reasons")
    lost = document["dropped_time"]
    return Account(
        agent_id=_text("agent.id", agent["id"], 36),
        account_id=account_id,
        host=_text("agent.host", agent["host"], 255),
        version=_text("agent.version", agent["version"], 64),
        time=_time("time", document["time"]),
        received=_count("received", document["received"]),
        stored=_count("stored", document["stored"]),
        pending=_count("pending", document["pending"]),
        quarantined=_count("quarantined", document["quarantined"]),
        dropped={_text("a reason", reason, 100): _count("dropped", count) for reason, count in dropped.items()},
        oldest_pending_s=_age("oldest_pending_s", document["oldest_pending_s"]),
        dropped_time=None if lost is None else _time("dropped_time", lost),
        trouble=_text("trouble", document["trouble"], 1000),
    )


def _text(name: str, value: Any, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise ValueError(f"{name} is not a text of one line and at most {limit} characters")
    return value


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NUMBER_LIMIT:
        raise ValueError(f"{name} is not a count")
    return value


def _age(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = hostile.number(value)
    if number is None or not 0 <= number < NUMBER_LIMIT:
        raise ValueError(f"{name} is not an age")
    return float(number)


def _time(name: str, value: Any) -> datetime:
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError(f"{name} is not a time")
    return parse_stamp(value).astimezone(UTC)
