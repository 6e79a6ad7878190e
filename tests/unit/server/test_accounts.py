"""What agents tell is checked as hostile input, and judged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import told
from diag_server.accounts import REASONS_LIMIT, agent_at, read_account
from diag_server.errors import BadAccount

from diag.model import new_capture_id, now, stamp

AGENT = new_capture_id()


def troubles(**changes: Any) -> tuple[str, ...]:
    """What is wrong with an agent that tells this now, or `ago`."""
    ago = changes.pop("ago", timedelta())
    moment = now()
    data = told.encode(told.healthy(AGENT, moment - ago, **changes))
    return agent_at(read_account(data, AGENT, new_capture_id(moment - ago)), moment).troubles


def test_an_account_is_read_as_it_was_told() -> None:
    """Every number arrives, and what was received is the sum of the rest."""
    account_id = new_capture_id()

    found = read_account(told.encode(told.document(AGENT)), AGENT, account_id)

    assert (found.agent_id, found.account_id, found.host, found.version) == (AGENT, account_id, "web-1", "0.1")
    assert (found.received, found.stored, found.pending, found.quarantined) == (9, 4, 2, 1)
    assert (found.dropped, found.oldest_pending_s, found.holds) == ({"quota": 1, "disk full": 1}, 12.5, True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": "diag.account/2"}, "schema"),
        ({"agent": {"id": new_capture_id(), "host": "h", "version": "1"}}, "another agent"),
        ({"agent": "me"}, "shape"),
        ({"host": "a\nb"}, "agent.host"),
        ({"host": "h" * 256}, "agent.host"),
        ({"host": 7}, "agent.host"),
        ({"received": -1}, "received"),
        ({"received": True}, "received"),
        ({"received": 2**53}, "received"),
        ({"stored": 1.5}, "stored"),
        ({"pending": "2"}, "pending"),
        ({"quarantined": None}, "quarantined"),
        ({"dropped": {"quota": -1}}, "dropped"),
        ({"dropped": {"x\ty": 1}}, "a reason"),
        ({"dropped": {f"r{number}": 1 for number in range(REASONS_LIMIT + 1)}}, "too many reasons"),
        ({"dropped": [1]}, "shape"),
        ({"oldest_pending_s": -1}, "oldest_pending_s"),
        ({"oldest_pending_s": "1"}, "oldest_pending_s"),
        ({"time": "yesterday"}, "shape"),
        ({"time": 5}, "time"),
        ({"time": stamp(now() - timedelta(days=3))}, "far from the time in its key"),
        ({"dropped_time": "0001-01-01T00:00:00+14:00"}, "shape"),
        ({"trouble": "x" * 1001}, "trouble"),
    ],
)
def test_what_is_no_account_is_refused(changes: dict[str, Any], says: str) -> None:
    """Each value has its type and its bounds, and the refusal names what is wrong."""
    with pytest.raises(BadAccount, match=says):
        read_account(told.encode(told.document(AGENT, **changes)), AGENT, new_capture_id())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"a": ' * 100, b"\xff\xfe", b'"' + b"x" * 1000])
def test_other_bytes_are_refused(data: bytes) -> None:
    """Whatever is no JSON object with the right keys is refused, and nothing else is raised."""
    with pytest.raises(BadAccount):
        read_account(data, AGENT, new_capture_id())


def test_a_key_from_the_future_is_refused() -> None:
    """A machine whose clock is ahead cannot put an account where none of its later ones would count."""
    ahead = now() + timedelta(days=400)

    with pytest.raises(BadAccount, match="future"):
        read_account(told.encode(told.document(AGENT, ahead)), AGENT, new_capture_id(ahead))


def test_trouble_is_what_a_person_has_to_look_at() -> None:
    """An agent whose captures are stored has none; long waits, silence, losses and things set aside are named."""
    waits = {"received": 5, "pending": 1, "oldest_pending_s": 30}
    assert troubles() == ()
    assert troubles(ago=timedelta(days=20)) == ()
    assert troubles(**waits) == ()
    assert troubles(**{**waits, "oldest_pending_s": 601}) == ("late",)
    assert troubles(**waits, ago=timedelta(minutes=11)) == ("late",)
    assert troubles(**waits, ago=timedelta(hours=3)) == ("late", "silent")
    assert troubles(received=5, quarantined=1) == ("quarantined",)
    lost = {"received": 5, "dropped": {"quota": 1}}
    assert troubles(**lost, dropped_time=stamp(now() - timedelta(hours=23))) == ("dropped",)
    assert troubles(**lost, dropped_time=stamp(now() - timedelta(hours=25))) == ()
    assert troubles(received=6) == ("sum",)


def test_what_waits_grows_older_while_nothing_is_heard() -> None:
    """The age of the oldest pending capture is counted on from when it was told."""
    moment = now()
    data = told.encode(told.document(AGENT, moment - timedelta(seconds=100)))
    account = read_account(data, AGENT, new_capture_id(moment))

    assert agent_at(account, moment).oldest_pending_s == pytest.approx(112.5, abs=0.01)
    assert agent_at(account, moment - timedelta(days=1)).oldest_pending_s == 12.5  # a clock that is ahead of ours
