"""The order in which a spool sends, lists and evicts, however long the backlog is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from spooled import MIB, make_capture, put_capture

from diag.model import moment_of, now
from diag.spool import Spool, id_of, order, space
from diag.spool.census import Census
from diag.spool.room import Room
from diag.spool.shelf import Shelf
from diag.spool.space import Space
from diag.spool.states import States


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own, with no floor."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


def hours_ago(hours: float) -> datetime:
    """A moment."""
    return now() - timedelta(hours=hours)


def crashes(spool: Spool, count: int) -> list[str]:
    """The ids of so many crashes, an hour apart, oldest first."""
    return [put_capture(spool, make_capture(moment=hours_ago(count - one))).capture_id for one in range(count)]


def ids(folders: object) -> list[str]:
    """The ids of these folders."""
    return [id_of(folder) for folder in folders]  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_the_newest_and_the_oldest_take_turns(spool: Spool, count: int) -> None:
    """After an outage the store gets what just happened, and the backlog shrinks from its other end."""
    old_to_new = crashes(spool, count)

    left, expected = list(old_to_new), []
    while left:
        expected.append(left.pop())
        expected += [left.pop(0)] if left else []
    assert ids(spool.pending()) == expected


def test_within_one_bucket_they_take_turns_too(spool: Spool) -> None:
    """A crash loop of one minute is no exception."""
    moment = now().replace(minute=0, second=0)
    loop = [put_capture(spool, make_capture(moment=moment + timedelta(seconds=one))).capture_id for one in range(5)]

    assert ids(spool.pending()) == [loop[4], loop[0], loop[3], loop[1], loop[2]]


def test_crashes_of_days_ago_go_before_reports_of_now(spool: Spool) -> None:
    """Rank comes first: crashes, events, reports, the rest."""
    kinds = ["profile", "report", "event", "crash", "packets", "crash"]
    for hours, kind in enumerate(kinds):
        put_capture(spool, make_capture(kind, hours_ago(hours)))

    sent = [spool.load(folder).kind for folder in spool.pending()]

    assert sent[:4] == ["crash", "crash", "event", "report"]
    assert sorted(sent[4:]) == ["packets", "profile"]


def test_only_what_is_asked_for_is_read(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first captures to send, and the newest, are found without a look at the rest."""
    crashes(spool, 40)
    listed: list[str] = []
    original = Shelf.entries

    def counting(self: Shelf, bucket: str) -> list[str]:
        listed.append(bucket)
        return original(self, bucket)

    monkeypatch.setattr(Shelf, "entries", counting)

    assert len(list(islice(spool.pending(), 4))) == 4
    assert len(list(islice(spool.newest(), 4))) == 4
    assert len(listed) < 16


def test_the_newest_come_first_whatever_their_kind(spool: Spool) -> None:
    """The list of `diag ls` goes by age alone."""
    kinds = ["profile", "crash", "report", "crash", "event"]
    expected = [put_capture(spool, make_capture(kind, hours_ago(hours))).capture_id for hours, kind in enumerate(kinds)]

    assert ids(spool.newest()) == expected


def test_what_comes_meanwhile_does_not_wait_for_the_backlog(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash that happens while a backlog is sent is slipped in; every capture is given once."""
    monkeypatch.setattr(order, "LOOK_EVERY_S", 0.0)
    backlog = crashes(spool, 8)
    profile = put_capture(spool, make_capture("profile", hours_ago(9))).capture_id
    sending = spool.pending()
    given = ids(islice(sending, 2))

    late = [put_capture(spool, make_capture(kind)).capture_id for kind in ("report", "crash")]
    given += ids(islice(sending, 4))
    assert set(late) < set(given)
    given += ids(sending)

    assert sorted(given) == sorted([*backlog, profile, *late])


def test_an_endless_stream_does_not_starve_the_backlog(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast new ones come, every second one is of those that wait."""
    monkeypatch.setattr(order, "LOOK_EVERY_S", 0.0)
    backlog = crashes(spool, 6)
    given = []

    for folder in spool.pending():
        given.append(id_of(folder))
        if len(set(given) & set(backlog)) == len(backlog):
            break
        put_capture(spool)

    assert len(given) <= 2 * len(backlog)


def test_a_list_that_changes_while_it_is_read(spool: Spool) -> None:
    """Others store, drop and remove meanwhile: the rest is given, each once, and nothing is raised."""
    known = crashes(spool, 9)
    sending, listing = spool.pending(), spool.newest()
    given, listed = [id_of(next(sending))], [id_of(next(listing))]

    other = Spool(spool.root, 64 * MIB, 0)
    other.stored(known[2])
    other.drop(known[4], "test")
    shutil.rmtree(next(other.starting_with(known[6])).parent)
    given += ids(sending)
    listed += ids(listing)

    assert len(given) == len(set(given))
    assert len(listed) == len(set(listed))
    assert set(known) - {known[2], known[4], known[6]} <= set(given) & set(listed)


def test_a_prefix_finds_what_waits(spool: Spool) -> None:
    """An id is found by its start, be it shorter or longer than what names a bucket."""
    known = crashes(spool, 3)

    assert ids(spool.starting_with(known[0][:12])) == [known[0]]
    assert sorted(ids(spool.starting_with("0"))) == known
    assert ids(spool.starting_with("f")) == []


def test_an_unseen_kind_outlives_repeats_of_any_rank(tmp_path: Path) -> None:
    """The only profile that there is tells more than one crash of a loop more."""
    spool = Spool(tmp_path / "spool", MIB, 0)
    profile = put_capture(spool, make_capture("profile"), b"x" * 50_000).capture_id
    loop = [put_capture(spool, make_capture(fingerprint="loop"), b"x" * 50_000).capture_id for _ in range(30)]

    left = ids(spool.newest())

    assert {profile, loop[0], loop[-1]} < set(left)
    assert spool.account().dropped == {"quota": 31 - len(left)}
    assert len(left) < 25


def test_of_single_ones_the_least_urgent_go(tmp_path: Path) -> None:
    """Where nothing is repeated, other kinds go before reports, reports before crashes, the oldest first."""
    spool = Spool(tmp_path / "spool", MIB, 0)
    old = [
        put_capture(spool, make_capture(kind, hours_ago(hours), fingerprint=f"{hours}"), b"x" * 150_000).capture_id
        for hours, kind in ((5, "crash"), (4, "report"), (3, "profile"), (2, "profile"))
    ]
    put_capture(spool, make_capture(fingerprint="new"), b"x" * 150_000)
    put_capture(spool, make_capture(fingerprint="newer"), b"x" * 150_000)

    assert old[0] in ids(spool.newest())
    assert [one in ids(spool.newest()) for one in old[1:]] in ([True, False, True], [True, False, False])


def test_many_small_ones_go_for_a_big_one_without_holding_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have to go, only a few go while others wait for the lock, and each is counted."""
    monkeypatch.setattr(space, "AT_A_TIME", 2)
    spool = Spool(tmp_path / "spool", MIB, 0)
    for _ in range(40):
        put_capture(spool, make_capture("profile"))
    together: list[int] = []
    original = Space._evict

    def counting(self: Space, book: object, victims: list[object]) -> None:
        together.append(len(victims))
        original(self, book, victims)  # type: ignore[arg-type]

    monkeypatch.setattr(Space, "_evict", counting)
    put_capture(spool, content=b"x" * 700_000)

    account = spool.account()
    assert max(together) == 2
    assert sum(together) == account.dropped["quota"] > 10
    assert account.received == 41 == account.pending + account.dropped["quota"]


def test_others_go_on_while_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the count of what is used nor the choice of what has to go holds the lock, and the quota holds."""
    spool, other = (Spool(tmp_path / "spool", MIB, 0) for _ in range(2))
    stored = [put_capture(spool, make_capture("report"), b"x" * 20_000).capture_id for _ in range(30)]
    meanwhile = 0

    def between(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal meanwhile
            found = original(*arguments)
            if stored and meanwhile < 4:
                meanwhile += 1
                other.stored(stored.pop())  # would wait for the lock, and fail in the end
                put_capture(other, make_capture("report"), b"x" * 5_000)
            return found

        return call

    monkeypatch.setattr(space, "Tally", between(space.Tally))
    monkeypatch.setattr(Room, "victims", between(Room.victims))
    for _ in range(12):
        put_capture(spool, content=b"x" * 100_000)
        assert sum(path.stat().st_size for path in spool.root.rglob("*") if path.is_file()) <= MIB

    account = spool.account()
    assert meanwhile == 4
    assert account.received == 46 == account.stored + account.pending + sum(account.dropped.values())
    assert account.stored == 4
    assert account.pending == len(list(spool.pending()))


def test_a_count_is_made_again_where_something_changed(spool: Spool) -> None:
    """What was counted without the lock is right with it: each bucket that changed since is counted again."""
    known = crashes(spool, 6)
    for folder in spool.newest():
        os.utime(folder.parent, (1, 1))  # calm for long, so that their count is kept
    census = Census(States(spool.root))
    assert census.count() == (6, 0)

    spool.stored(known[0])
    spool.drop(known[1], "test")
    spool.quarantine(known[2], "test")
    spool.begin(make_capture()).close()
    put_capture(spool, make_capture(moment=moment_of(known[4])))

    assert census.count() == (5, 1)
