"""The index keeps up with a store that others write to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import deaths
import pytest
from diag_server import follow, walk
from diag_server.config import ViewerConfig
from diag_server.follow import ALL_EVERY_S, DAYS_EVERY_S, PAGE_WAITS_FOR, PINS_EVERY_S, Follower
from diag_server.index import notes, read, write
from diag_server.index.opening import open_engine
from diag_server.index.rows import Filter
from diag_server.index.upkeep import Mender

from diag.errors import StoreUnreachable
from diag.model import Capture, now
from diag.upload import keys, pins
from diag.upload import notes as about_captures
from diag.upload.store import Store
from diag.upload.stores import open_store


class Following:
    """A follower of a file store, with a clock that a test sets."""

    def __init__(self, folder: Path, index_url: str) -> None:
        self.store = folder / "store"
        self.store.mkdir(exist_ok=True)
        self.config = ViewerConfig(self.store.as_uri(), index_url, max_report_bytes=100_000)
        self.engine = open_engine(index_url, "a")
        self.seconds = 1e9
        self.opened = open_store(self.config.store_url, "")
        self.follower = Follower(
            self.opened,
            self.engine,
            self.config,
            Mender(self.engine, index_url, "a"),
            clock=lambda: self.seconds,
        )

    def look(self, passed_s: float = 1.0) -> set[str]:
        """A page is asked for, and what is done behind its back is waited for."""
        self.seconds += passed_s
        self.follower.look()
        self.follower.keep()
        return write.ids(self.engine)

    def page(self, passed_s: float = 1.0) -> set[str]:
        """A page is asked for."""
        self.seconds += passed_s
        self.follower.look()
        return write.ids(self.engine)

    def reindex(self) -> bool:
        """Everything is to be read again; whether it could be."""
        notes.reindex(self.engine)
        return self.follower.keep()


@pytest.fixture
def following(tmp_path: Path, index_url: str) -> Iterator[Following]:
    made = Following(tmp_path, index_url)
    yield made
    made.engine.dispose()


def test_what_is_there_at_first_is_indexed(following: Following) -> None:
    """The whole store is read at first, however old its captures are; a page waits for the newest hours only."""
    old = deaths.write(deaths.made(deaths.killed(at=now() - timedelta(days=400))), following.store)
    new = deaths.write(deaths.made(deaths.segfault()), following.store)

    assert following.page() == {new.id}
    assert following.look() == {old.id, new.id}


def test_a_new_capture_is_seen_at_the_next_look(following: Following) -> None:
    """What an agent writes into the store is indexed without anybody saying so, and not before the look is due."""
    following.look()
    made = deaths.write(deaths.made(deaths.segfault()), following.store)

    assert following.look(0.5) == set()
    assert following.look(0.5) == {made.id}


@pytest.mark.parametrize(("age", "due_s"), [(timedelta(hours=20), DAYS_EVERY_S), (timedelta(days=90), ALL_EVERY_S)])
def test_late_deliveries_are_found(following: Following, age: timedelta, due_s: float) -> None:
    """A capture that began long ago and arrives now is found too, a little later."""
    following.look()
    made = deaths.write(deaths.made(deaths.killed(at=now() - age)), following.store)

    assert following.look(2) == set()
    assert following.look(due_s) == {made.id}


def test_what_left_the_store_leaves_the_index(following: Following) -> None:
    """The index never lists for long what the store no longer has."""
    made = deaths.write(deaths.made(deaths.segfault()), following.store)
    following.look()
    (following.store / made.key()).unlink()

    assert following.look(ALL_EVERY_S) == set()


def test_a_capture_without_manifest_does_not_exist_yet(following: Following) -> None:
    """Artifacts that arrive first show nothing; the manifest makes the capture."""
    made = deaths.made(deaths.segfault())
    path = following.store / made.key(next(iter(made.files)))
    path.parent.mkdir(parents=True)
    path.write_bytes(next(iter(made.files.values())))

    assert following.look() == set()
    deaths.write(made, following.store)
    assert following.look() == {made.id}


def test_a_bad_manifest_stops_nobody(following: Following) -> None:
    """One manifest that cannot be read is left out; the others are indexed."""
    bad = deaths.write(deaths.made(deaths.segfault()), following.store)
    (following.store / bad.key()).write_text('{"capture_id": ')
    good = deaths.write(deaths.made(deaths.segfault()), following.store)

    assert following.look() == {good.id}
    assert following.look(5) == {good.id}


@pytest.mark.parametrize(
    "report", [b"not json", b"[]", b'{"threads": 7, "exception": [1], "signal": "x"}', b'"' + b"x" * 200_000]
)
def test_a_bad_report_hides_no_capture(following: Following, report: bytes) -> None:
    """A report that is wrong or too large still leaves the capture, found by what its manifest says."""
    made = deaths.write(deaths.with_report(deaths.made(deaths.segfault()), report), following.store)

    assert following.look() == {made.id}
    assert [row.capture_id for row in read.find(following.engine, Filter(q="SIGSEGV")).captures] == [made.id]


def test_a_store_that_cannot_be_listed_is_said_and_forgotten(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store fails the pages say why; when it answers again they stop."""

    def fail(*_: object, **__: object) -> list[str]:
        raise StoreUnreachable("the store is asleep")

    following.look()
    with monkeypatch.context() as patch:
        patch.setattr(following.opened, "folders", fail)
        following.look(2)
        assert following.follower.trouble.endswith("the store is asleep")

    following.look(2)
    assert following.follower.trouble == ""


def test_a_listing_is_never_trusted_for_absence(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that a listing leaves out stays in the index as long as the store has its manifest."""
    kept, gone = (deaths.write(deaths.made(deaths.segfault()), following.store) for _ in range(2))
    assert following.look() == {kept.id, gone.id}
    (following.store / gone.key()).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(following.opened, "folders", lambda prefix: [])
        patch.setattr(following.opened, "objects", lambda prefix: iter(()))

        assert following.look(ALL_EVERY_S) == {kept.id}

    assert following.look(ALL_EVERY_S) == {kept.id}


def test_a_store_that_does_not_answer_loses_nothing(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store cannot be asked for a capture, the index keeps it, and asks again later."""
    made = deaths.write(deaths.made(deaths.killed(at=now() - timedelta(days=9))), following.store)
    assert following.look() == {made.id}
    (following.store / made.key()).unlink()

    def fail(key: str) -> None:
        raise StoreUnreachable("the store is asleep")

    with monkeypatch.context() as patch:
        patch.setattr(following.opened, "stat", fail)
        assert following.look(ALL_EVERY_S) == {made.id}
        assert following.follower.trouble.endswith("the store is asleep")

    assert following.look(ALL_EVERY_S) == set()


def test_what_one_listing_leaves_out_the_next_brings(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that comes late hides a capture until a later one shows it."""
    following.look()
    made = deaths.write(deaths.made(deaths.segfault()), following.store)
    with monkeypatch.context() as patch:
        patch.setattr(following.opened, "folders", lambda prefix: [])
        assert following.look() == set()

    assert following.look() == {made.id}


def test_a_page_waits_for_some_captures_only(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood comes in by and by: a page takes the newest of it, the rest follows behind its back."""
    monkeypatch.setattr(follow, "PAGE_WAITS_FOR", 2)
    following.look()
    made = [deaths.write(deaths.made(deaths.segfault()), following.store) for _ in range(4)]

    first = following.page()

    assert PAGE_WAITS_FOR > 2
    assert len(first) == 2
    assert following.look(DAYS_EVERY_S) == {one.id for one in made}


def test_nothing_is_read_while_nobody_looks(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the store has been read, it is left alone until a page is asked for."""
    following.look()
    following.follower.keep()
    asked: list[str] = []
    monkeypatch.setattr(following.opened, "folders", lambda prefix: asked.append(prefix) or [])
    following.seconds += 2 * ALL_EVERY_S

    assert following.follower.keep()
    assert asked == []


class Broken(Exception):
    """What a kill is to a step: nothing behind it happens."""


def broken_off(following: Following, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """A walk that ends after so many hours, as if the viewer had been killed there."""
    left = after

    def whole_in(store: Store, tenant: str, hour: str) -> list[str]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Broken
        return real(store, tenant, hour)

    real = walk.whole_in
    with monkeypatch.context() as patch:
        patch.setattr(walk, "whole_in", whole_in)
        with pytest.raises(Broken):
            following.follower.keep()


def test_a_first_walk_goes_on_where_it_was(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts after a kill reads the older hours only, and says how far it is until it is done."""
    made = [
        deaths.write(deaths.made(deaths.killed(at=now() - timedelta(days=days))), following.store)
        for days in (3, 4, 5, 6)
    ]

    broken_off(following, monkeypatch, after=2)

    under_way = notes.walk(following.engine)
    assert under_way is not None and (under_way.reason, under_way.captures) == (notes.FIRST, 2)
    assert write.ids(following.engine) == {one.id for one in made[:2]}
    following.page()
    assert following.follower.building == under_way

    read_again: list[str] = []
    monkeypatch.setattr(
        walk, "whole_in", lambda store, tenant, hour: read_again.append(hour) or found(store, tenant, hour)
    )
    assert following.look() == {one.id for one in made}
    assert {hour for hour in read_again if hour <= under_way.hour} == {
        "/".join(one.key().split("/")[2:6]) for one in made[2:]
    }
    following.page()
    assert following.follower.building is None


found = walk.whole_in


def test_reindexing_keeps_everything_listed(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """While everything is read anew nothing leaves the lists; what the index had wrong is right again at the end."""
    made = [
        deaths.write(deaths.made(deaths.segfault(at=now() - timedelta(days=days))), following.store) for days in (3, 4)
    ]
    everything = {one.id for one in made}
    assert following.look() == everything
    wrong = Capture.from_json({**made[1].capture.to_json(), "title": "wrong"})
    write.add(following.engine, [follow.entry(wrong, {})], again=True)

    notes.reindex(following.engine)
    broken_off(following, monkeypatch, after=1)
    assert write.ids(following.engine) == everything
    assert following.reindex()

    assert write.ids(following.engine) == everything
    titles = {row.title for row in read.find(following.engine, Filter()).captures}
    assert titles == {made[0].capture.title}


def test_two_viewers_of_one_database_read_the_store_once(tmp_path: Path, index_url: str) -> None:
    """What one viewer has read within its time, the other does not read again."""
    one, other = Following(tmp_path, index_url), Following(tmp_path, index_url)
    try:
        one.look()
        made = deaths.write(deaths.made(deaths.killed(at=now() - timedelta(days=3))), one.store)

        assert other.look(ALL_EVERY_S / 2) == set()
        assert other.look(ALL_EVERY_S) == {made.id}
    finally:
        one.engine.dispose()
        other.engine.dispose()


def test_pins_that_others_set_are_known_soon(following: Following) -> None:
    """A capture that is pinned elsewhere is marked at one of the next looks, and no longer when unpinned."""
    made = deaths.write(deaths.made(deaths.segfault()), following.store)
    store = open_store(following.config.store_url)
    following.look()
    pins.pin(store, "default", made.id, "somebody")

    following.look(PINS_EVERY_S)
    assert following.follower.pinned == {made.id}

    pins.unpin(store, "default", made.id)
    following.look(PINS_EVERY_S)
    assert following.follower.pinned == frozenset()


def test_notes_are_no_captures(following: Following) -> None:
    """A pin and a tombstone stand beside the captures in the store, and are never taken for one."""
    store = open_store(following.config.store_url)
    made = deaths.made(deaths.segfault())
    for kind in (keys.PINS, keys.DELETED):
        about_captures.write(store, "default", kind, made.id, made.manifest)

    assert following.look() == set()
    assert following.look(ALL_EVERY_S) == set()
