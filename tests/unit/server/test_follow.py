"""The index keeps up with a store that others write to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import deaths
import pytest
from diag_server.config import ViewerConfig
from diag_server.follow import ALL_EVERY_S, DAYS_EVERY_S, Follower
from diag_server.index import read, write
from diag_server.index.rows import Filter
from diag_server.index.schema import open_engine

from diag.model import now
from diag.upload.stores import open_store


class Following:
    """A follower of a file store, with a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        self.config = ViewerConfig(self.store.as_uri(), str(folder / "index.sqlite"), max_report_bytes=100_000)
        self.engine = open_engine(self.config.index_url, "a")
        self.seconds = 0.0
        self.follower = Follower(
            open_store(self.config.store_url, ""), self.engine, self.config, clock=lambda: self.seconds
        )

    def look(self, passed_s: float = 1.0) -> set[str]:
        self.seconds += passed_s
        self.follower.look()
        return write.ids(self.engine)


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Following]:
    made = Following(tmp_path)
    yield made
    made.engine.dispose()


def test_what_is_there_at_first_is_indexed(following: Following) -> None:
    """The first look takes the whole store, however old its captures are."""
    old = deaths.write(deaths.made(deaths.killed(at=now() - timedelta(days=400))), following.store)
    new = deaths.write(deaths.made(deaths.segfault()), following.store)

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
    from diag.errors import StoreUnreachable

    def fail(*_: object, **__: object) -> list[str]:
        raise StoreUnreachable("the store is asleep")

    following.look()
    with monkeypatch.context() as patch:
        patch.setattr(following.follower._store, "folders", fail)
        following.look(2)
        assert following.follower.trouble.endswith("the store is asleep")

    following.look(2)
    assert following.follower.trouble == ""
