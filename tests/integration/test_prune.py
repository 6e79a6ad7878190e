"""Pruning real stores: a capture is whole and listed, or gone, whoever is killed and whoever delivers meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine import TIMEOUT_S
from spooled import MIB, make_capture
from viewers import running

from diag.config import RetentionRule
from diag.errors import NoSuchCapture, StoreError
from diag.model import Capture, now
from diag.spool import Spool
from diag.upload import catalogue, keys, notes, pins, removal
from diag.upload.local import LocalStore
from diag.upload.prune import Seen, Survey, carry_out, finish_begun, survey
from diag.upload.store import Store, StoredObject
from diag.upload.stores import open_store
from diag.upload.uploader import drain, send

OLD = timedelta(days=40)
RULES = (RetentionRule(keep_days=30),)
STORES = ["file", "http", "s3", "oss"]


@pytest.fixture(scope="module")
def viewer_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A viewer with a token of each role."""
    folder = tmp_path_factory.mktemp("viewer")
    (folder / "tokens").write_text("viewer v-token\noperator o-token\nadmin a-token\nagent g-token\n")
    environ = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")}
    with running(folder / "store", "--tokens", str(folder / "tokens"), environ=environ) as one:
        yield one.url


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn."""
    if request.param == "file":
        return open_store((tmp_path / "store").as_uri())
    if request.param == "http":
        return open_store(request.getfixturevalue("viewer_url"), "a-token")
    return open_store(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    """A store in a folder."""
    return LocalStore((tmp_path / "store").as_uri())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool that captures are sent from."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


def caught(spool: Spool, age: timedelta = OLD, **fields: Any) -> Capture:
    """A capture with two files that waits in the spool."""
    capture = make_capture(moment=now() - age, **fields)
    with spool.begin(capture) as draft:
        for name in ("a.json", "b.json"):
            draft.add(name, "report", "json", "application/json", b"{}\n")
        return spool.load(draft.commit(capture))


def stored(store: Store, spool: Spool, age: timedelta = OLD, **fields: Any) -> Capture:
    """A capture with two files in the store."""
    capture = caught(spool, age, **fields)
    assert drain(spool, store, "default", deadline=None).trouble is None
    return capture


def prune(store: Store, *rules: RetentionRule, dry_run: bool = False) -> tuple[list[Seen], Survey]:
    """What a run tells, and what it found."""
    seen: list[Seen] = []
    at = now()
    if not dry_run:
        assert finish_begun(store, "default") == {}
    found = survey(store, "default", rules or RULES, at, lambda count: None)
    carry_out(store, "default", rules or RULES, at, found, seen.append, dry_run=dry_run)
    return seen, found


def names(store: Store, capture: Capture) -> list[str]:
    """The names of all that the store has of the capture."""
    prefix = keys.prefix("default", capture.capture_id)
    return [one.key.removeprefix(prefix) for one in store.objects(prefix)]


def is_listed(store: Store, capture: Capture) -> bool:
    """Whether readers find the capture."""
    near = keys.moment_of(capture.capture_id)
    ids = [one.capture_id for one in catalogue.newest(store, "default", since=near, until=near)]
    return capture.capture_id in ids


WHOLE = ["a.json", "b.json", keys.MANIFEST]


def check_whole_or_gone(store: Store, capture: Capture) -> bool:
    """The promise; returns whether it is there."""
    found = names(store, capture)
    assert found in (WHOLE, [])
    assert is_listed(store, capture) is bool(found)
    return bool(found)


# --- one run --------------------------------------------------------------------------------------------------------


def test_what_a_rule_lets_go_is_gone_whole(store: Store, spool: Spool) -> None:
    """Nothing of it is left, not even that it went; what the rule keeps is untouched."""
    old, young = stored(store, spool), stored(store, spool, timedelta(days=1))

    seen, _ = prune(store)

    assert [(one.capture, one.fate) for one in seen if one.capture in (old, young)] == [(old, "removed")]
    assert not check_whole_or_gone(store, old)
    assert check_whole_or_gone(store, young)
    assert list(notes.listed(store, "default", keys.DELETED)) == []
    with pytest.raises(NoSuchCapture):
        catalogue.read(store, "default", old.capture_id)


def test_a_dry_run_tells_what_a_real_one_does(store: Store, spool: Spool) -> None:
    """The same captures in the same order with the same sizes, and nothing has changed in between."""
    captures = [stored(store, spool, OLD + timedelta(days=day)) for day in range(3)]
    pins.pin(store, "default", captures[1].capture_id, "a test")
    before = list(store.objects("v1/default/"))

    told, _ = prune(store, dry_run=True)

    assert list(store.objects("v1/default/")) == before
    assert {one.fate for one in told} == {"removed", "pinned"}
    assert prune(store)[0] == told
    pins.unpin(store, "default", captures[1].capture_id)


def test_a_pin_keeps_a_capture_until_it_is_taken_away(store: Store, spool: Spool) -> None:
    """Pinned it stays, unpinned it goes; who pinned first is remembered, and secrets are not."""
    capture = stored(store, spool)
    first = pins.pin(store, "default", capture.capture_id, "ann", "see Authorization: Bearer abcdefgh12345678")
    again = pins.pin(store, "default", capture.capture_id, "bob")

    assert again == first == pins.read(store, "default", capture.capture_id)
    assert first.by == "ann" and "abcdefgh12345678" not in first.reason
    assert capture.capture_id in set(pins.listed(store, "default"))
    assert [one.fate for one in prune(store)[0] if one.capture == capture] == ["pinned"]
    assert check_whole_or_gone(store, capture)

    assert pins.unpin(store, "default", capture.capture_id)
    assert not pins.unpin(store, "default", capture.capture_id)
    assert [one.fate for one in prune(store)[0] if one.capture == capture] == ["removed"]
    assert not check_whole_or_gone(store, capture)


def test_what_is_gone_cannot_be_pinned(store: Store, spool: Spool) -> None:
    """Pinning in the moment of a removal says so, and leaves no pin."""
    capture = stored(store, spool)
    prune(store)

    with pytest.raises(NoSuchCapture):
        pins.pin(store, "default", capture.capture_id, "too late")
    assert capture.capture_id not in set(pins.listed(store, "default"))


def test_an_upload_under_way_is_left_alone(store: Store, spool: Spool, tmp_path: Path) -> None:
    """Files without a manifest may be waiting for it for days: no rule is about them."""
    capture = caught(spool)
    (waiting,) = spool.starting_with(capture.capture_id)
    source = waiting / "a.json"
    artifact = capture.artifacts[0]
    key = keys.key("default", capture.capture_id, artifact.name)
    store.put(key, source, size_bytes=artifact.size_bytes, sha256=artifact.sha256, content_type="application/json")

    prune(store, RetentionRule(keep_days=0), RetentionRule(max_size_mb=0))

    assert names(store, capture) == ["a.json"]
    assert drain(spool, store, "default", deadline=None).stored == 1
    assert check_whole_or_gone(store, capture)


@pytest.mark.parametrize(
    "content", [b'{"capture_id": ', b"[]", b"\xff", b"{}", None], ids=["cut", "a list", "no text", "empty", "kind"]
)
def test_a_manifest_that_cannot_be_read_is_left_alone_and_told(
    folder: LocalStore, spool: Spool, content: bytes | None
) -> None:
    """What it describes is not known, so it stays; the others go."""
    bad, good = stored(folder, spool), stored(folder, spool)
    path = folder.root / keys.key("default", bad.capture_id, keys.MANIFEST)
    path.write_bytes(path.read_bytes().replace(b'"crash"', b"[1]") if content is None else content)

    seen, found = prune(folder, RetentionRule(keep_days=0, max_size_mb=0))

    assert list(found.unreadable) == [bad.capture_id]
    assert [one.capture for one in seen] == [good]
    assert names(folder, bad) == WHOLE


def test_young_captures_are_not_read_for_age(folder: LocalStore, spool: Spool) -> None:
    """A rule of age costs nothing for what is younger."""
    stored(folder, spool, timedelta(days=1))
    old = stored(folder, spool)

    _, found = prune(folder, dry_run=True)

    assert [found.roll[index].capture_id for index in range(len(found.roll))] == [old.capture_id]


def test_size_counts_files_and_manifests(folder: LocalStore, spool: Spool) -> None:
    """What is freed is what stood there, to the byte."""
    capture = stored(folder, spool)
    there = sum(one.size_bytes for one in folder.objects(keys.prefix("default", capture.capture_id)))

    seen, _ = prune(folder, RetentionRule(max_size_mb=(there - 1) / MIB))

    assert [one.size_bytes for one in seen] == [there]


# --- killed ---------------------------------------------------------------------------------------------------------

STEPS = ("os.remove", "os.link", "os.rename", "os.mkdir", "os.rmdir", "http.client.send")


def _kill_at(step: int) -> None:
    """End this process by SIGKILL before its step-th change of a folder, or its step-th request."""
    left = [step]

    def hook(event: str, arguments: object) -> None:
        if event in STEPS:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that is killed at a step; False where it was done before that."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            _kill_at(step)
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_killed_prune_is_finished_by_the_next(store: Store, spool: Spool) -> None:
    """Killed at any step, what has no manifest is listed by nobody, and the next run leaves nothing of it."""
    prune(store)  # everything imported and met that the child would need
    steps = 0
    pinned = stored(store, spool)
    pins.pin(store, "default", pinned.capture_id, "a test")
    while True:
        captures = [stored(store, spool) for _ in range(2 if isinstance(store, LocalStore) else 1)]

        def work() -> None:
            prune(open_store(store.url, "a-token"))

        was_killed = _killed_at(steps, work)
        for one in captures:
            there = names(store, one)
            assert is_listed(store, one) is (keys.MANIFEST in there)
            assert there == WHOLE or keys.MANIFEST not in there
        prune(store)

        assert not any(names(store, one) for one in captures)
        assert list(notes.listed(store, "default", keys.DELETED)) == []
        assert check_whole_or_gone(store, pinned)
        if not was_killed:
            break
        steps += 1
    pins.unpin(store, "default", pinned.capture_id)
    assert steps > 10


def test_a_pin_after_the_kill_is_heeded(folder: LocalStore, spool: Spool) -> None:
    """While the manifest stands, a removal that was broken off is taken back for a pin."""
    capture = stored(folder, spool)
    notes.write(
        folder, "default", keys.DELETED, capture.capture_id, catalogue.content(folder, "default", capture.capture_id)
    )
    pins.pin(folder, "default", capture.capture_id, "just in time")

    prune(folder)

    assert check_whole_or_gone(folder, capture)
    assert list(notes.listed(folder, "default", keys.DELETED)) == []


# --- at the same time -----------------------------------------------------------------------------------------------


class Turns:
    """Lets threads do one thing each in a given order; who has ended is passed over."""

    def __init__(self, order: list[int], threads: int) -> None:
        self._order, self._changed = list(order), threading.Condition()
        self._running = set(range(threads))

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """One thing to do, alone."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._next() in (None, number), TIMEOUT_S)
            yield
            if self._order:
                self._order.pop(0)
            self._changed.notify_all()

    def end(self, number: int) -> None:
        with self._changed:
            self._running.discard(number)
            self._changed.notify_all()

    def _next(self) -> int | None:
        while self._order and self._order[0] not in self._running:
            self._order.pop(0)
        return self._order[0] if self._order else None


class InTurns(LocalStore):
    """A folder of which each use waits for its turn."""

    def __init__(self, url: str, turns: Turns, number: int) -> None:
        super().__init__(url)
        self._turns, self._number = turns, number

    def put(self, key: str, source: Path, **announced: Any) -> None:
        with self._turns.turn(self._number):
            super().put(key, source, **announced)

    def open(self, key: str) -> BinaryIO:
        with self._turns.turn(self._number):
            return super().open(key)

    def stat(self, key: str) -> StoredObject | None:
        with self._turns.turn(self._number):
            return super().stat(key)

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        with self._turns.turn(self._number):
            found = list(super().objects(prefix, start_after=start_after))
        yield from found

    def delete(self, key: str) -> None:
        with self._turns.turn(self._number):
            super().delete(key)


def together(order: list[int], url: str, *jobs: Callable[[Store], None]) -> None:
    """Do the jobs at the same time, their uses of the store in this order."""
    turns, failures = Turns(order, len(jobs)), []

    def run(number: int) -> None:
        try:
            jobs[number](InTurns(url, turns, number))
        except Exception as error:  # noqa: BLE001 - the test thread tells
            failures.append(error)
        finally:
            turns.end(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert failures == []


ORDERS = st.lists(st.integers(0, 2), min_size=10, max_size=45)
IN_ORDER = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@IN_ORDER
@given(ORDERS, st.booleans())
def test_a_delivery_during_a_removal_leaves_all_or_nothing(
    folder: LocalStore, spool: Spool, order: list[int], twice: bool
) -> None:
    """An agent that delivers again what is being removed, by one run or two, ends with a whole capture or none."""
    capture = caught(spool)
    (waiting,) = spool.starting_with(capture.capture_id)
    manifest = (waiting / keys.MANIFEST).read_bytes()
    _deliver(folder, spool, waiting)

    def deliver(store: Store) -> None:
        while True:
            try:
                return _deliver(store, spool, waiting)
            except StoreError:
                continue  # it waits in the spool, and is sent again

    def take_away(store: Store) -> None:
        removal.remove(store, "default", capture.capture_id, manifest)

    together(order, folder.url, deliver, take_away, *([take_away] if twice else []))

    check_whole_or_gone(folder, capture)
    assert list(notes.listed(folder, "default", keys.DELETED)) == []
    send(spool, folder, "default", waiting)
    prune(folder)
    assert not check_whole_or_gone(folder, capture)


def _deliver(store: Store, spool: Spool, waiting: Path) -> None:
    """Send it, and keep it in the spool to be sent again."""
    from diag.upload import uploader

    uploader._put(spool, store, "default", waiting)


@settings(IN_ORDER, max_examples=20)
@given(ORDERS)
def test_two_runs_at_once_remove_the_same(folder: LocalStore, spool: Spool, order: list[int]) -> None:
    """Whichever is faster at what: everything is gone, nothing else is, and neither fails."""
    captures = [stored(folder, spool) for _ in range(2)]
    young = stored(folder, spool, timedelta(days=1))

    together(order, folder.url, prune, prune)  # type: ignore[arg-type]

    assert [check_whole_or_gone(folder, one) for one in (*captures, young)] == [False, False, True]
    assert list(notes.listed(folder, "default", keys.DELETED)) == []
    prune(folder, RetentionRule(keep_days=0))


def test_a_capture_that_keeps_coming_stops_the_run(folder: LocalStore, spool: Spool) -> None:
    """A removal does not go round for ever; what it began is finished by a later run."""
    capture = caught(spool)
    (waiting,) = spool.starting_with(capture.capture_id)
    _deliver(folder, spool, waiting)

    class Haunted(LocalStore):
        def stat(self, key: str) -> StoredObject | None:
            _deliver(folder, spool, waiting)
            return super().stat(key)

    with pytest.raises(StoreError, match="again and again"):
        removal.remove(Haunted(folder.url), "default", capture.capture_id, b"{}")
    prune(folder)
    assert not check_whole_or_gone(folder, capture)
