"""The viewer keeps up with what agents tell, whoever writes it into the store."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import told
from diag_server import agents as module
from diag_server.accounts import read_account
from diag_server.agents import Agents

from diag.errors import StoreUnreachable
from diag.model import new_capture_id, now
from diag.upload.local import LocalStore

ONE, OTHER = new_capture_id(), new_capture_id()


class Counting(LocalStore):
    """A store that writes down which accounts are read, and fails where it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.opened: list[str] = []
        self.down = False

    def open(self, key: str) -> Any:
        """Read it."""
        self.opened.append(key)
        return super().open(key)

    def objects(self, prefix: str, *, start_after: str = "") -> Any:
        """List it, unless it is down."""
        if self.down:
            raise StoreUnreachable("the store is asleep")
        return super().objects(prefix, start_after=start_after)


class Seen:
    """The agents of a file store, with a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "store"
        self.store = Counting(self.folder.as_uri())
        self.seconds = 0.0
        self.agents = Agents(self.store, "default", 1.0, clock=lambda: self.seconds)

    def look(self, passed_s: float = 1.0) -> dict[str, int]:
        """Received of each agent, after a look so much later."""
        self.seconds += passed_s
        self.agents.look()
        return {one.account.agent_id: one.account.received for one in self.agents.at(now())}


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path)


def test_the_last_account_of_each_agent_counts(seen: Seen) -> None:
    """Earlier ones that an agent could not remove are not even read."""
    told.put(seen.folder, told.healthy(ONE, received=1), now() - timedelta(minutes=2))
    last = told.put(seen.folder, told.healthy(ONE, received=2))
    other = told.put(seen.folder, told.healthy(OTHER, received=7))

    assert seen.look() == {ONE: 2, OTHER: 7}
    assert sorted(seen.store.opened) == sorted([last, other])


def test_only_what_changed_is_read_again(seen: Seen) -> None:
    """An agent that tells nothing new costs a line of a listing."""
    told.put(seen.folder, told.healthy(ONE, received=1))
    told.put(seen.folder, told.healthy(OTHER, received=1))
    seen.look()
    seen.store.opened.clear()

    assert seen.look() == {ONE: 1, OTHER: 1}
    assert seen.store.opened == []
    newer = told.put(seen.folder, told.healthy(ONE, received=3))
    assert seen.look(0.5) == {ONE: 1, OTHER: 1}
    assert seen.look(0.5) == {ONE: 3, OTHER: 1}
    assert seen.store.opened == [newer]


def test_an_agent_whose_accounts_are_removed_is_forgotten(seen: Seen) -> None:
    """Whoever removes the last account of a machine that is gone removes it from the pages."""
    key = told.put(seen.folder, told.healthy(ONE))
    assert seen.look() == {ONE: 4}

    seen.store.delete(key)

    assert seen.look() == {}


def test_what_comes_in_is_known_at_once_and_never_taken_back(seen: Seen) -> None:
    """An account that the viewer was sent counts before the next look; an older one after it says nothing."""
    older, newer = new_capture_id(now() - timedelta(minutes=1)), new_capture_id()
    seen.agents.take(read_account(told.encode(told.healthy(ONE, received=2)), ONE, newer))
    seen.agents.take(read_account(told.encode(told.healthy(ONE, received=1)), ONE, older))

    assert {one.account.received for one in seen.agents.at(now())} == {2}


def test_a_bad_account_hides_nobody_else(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be read is left out and said once; what the agent told before stays."""
    told.put(seen.folder, told.healthy(ONE, received=1))
    seen.look()
    told.put(seen.folder, told.healthy(ONE), data=b'{"schema": ')
    told.put(seen.folder, told.healthy(OTHER, received=5))
    told.put(seen.folder, told.healthy(new_capture_id()), data=b" " * 70_000)

    with caplog.at_level(logging.WARNING):
        assert seen.look() == {ONE: 1, OTHER: 5}
        assert seen.look() == {ONE: 1, OTHER: 5}
    assert len(caplog.records) == 2


def test_a_clock_that_was_ahead_hides_nothing_for_long(seen: Seen) -> None:
    """An account from the far future is passed over, so that what the agent tells today counts."""
    future = now() + timedelta(days=400)
    told.put(seen.folder, told.healthy(ONE, future, received=1), future)
    told.put(seen.folder, told.healthy(ONE, received=2))

    assert seen.look() == {ONE: 2}


def test_other_keys_and_tenants_are_no_agents(seen: Seen) -> None:
    """Only well-formed keys of this tenant are looked at."""
    told.put(seen.folder, told.healthy(ONE), tenant="other")
    stray = seen.folder / "v1/default/agents/not-an-id/x.json"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")

    assert seen.look() == {}


def test_a_first_look_takes_a_page_no_longer_than_it_may(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many agents the first page has some of them and says how many are still to be read."""
    for _ in range(5):
        told.put(seen.folder, told.healthy(new_capture_id()))
    monkeypatch.setattr(seen.agents, "_clock", lambda: ticks())

    def ticks() -> float:
        seen.seconds += 0.4
        return seen.seconds

    seen.agents.look()
    assert 0 < seen.agents.unread < 5
    assert len(seen.agents.at(now())) == 5 - seen.agents.unread
    for _ in range(5):
        seen.seconds += 100.0
        seen.agents.look()
    assert (seen.agents.unread, len(seen.agents.at(now()))) == (0, 5)


def test_there_is_a_limit_to_agents(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many agents somebody invents, only so many are kept."""
    monkeypatch.setattr(module, "AGENTS_LIMIT", 3)
    for _ in range(5):
        told.put(seen.folder, told.healthy(new_capture_id()))

    assert len(seen.look()) == 3
    seen.agents.take(read_account(told.encode(told.healthy(ONE)), ONE, new_capture_id()))
    assert len(seen.agents.at(now())) == 3


def test_a_store_that_cannot_be_listed_is_said_and_forgotten(seen: Seen) -> None:
    """While the store fails the last known accounts stay, with the reason; then it goes on."""
    told.put(seen.folder, told.healthy(ONE))
    seen.look()
    seen.store.down = True
    assert seen.look() == {ONE: 4}
    assert seen.agents.trouble == "the store is asleep"

    seen.store.down = False
    seen.look()
    assert seen.agents.trouble == ""


def test_trouble_comes_first_and_the_old_last(seen: Seen) -> None:
    """The order of the page: agents in trouble, then those heard of last, then those of long ago."""
    ids = [new_capture_id() for _ in range(4)]
    ago = [timedelta(days=40), timedelta(hours=5), timedelta(hours=2), timedelta(hours=1)]
    for agent, passed in zip(ids, ago, strict=True):
        stuck = {"received": 5, "pending": 1, "oldest_pending_s": 1} if agent in (ids[0], ids[1]) else {}
        told.put(seen.folder, told.healthy(agent, now() - passed, **stuck), now() - passed)
    seen.look()

    found = seen.agents.at(now())

    assert [one.account.agent_id for one in found] == [ids[1], ids[3], ids[2], ids[0]]
    assert [one.old for one in found] == [False, False, False, True]
