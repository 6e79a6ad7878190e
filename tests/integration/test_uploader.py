"""From the spool to the store, and back out of the catalogue: nothing is lost, whatever the store does."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S
from spooled import MIB, folder_of, make_capture, put_capture
from viewers import running

from diag.errors import (
    CorruptCapture,
    NoSuchCapture,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    UsageError,
)
from diag.model import Capture, now
from diag.spool import Account, Spool, id_of
from diag.spool.files import open_folder, try_lock
from diag.upload import catalogue, keys, uploader
from diag.upload.answers import retry_after_s
from diag.upload.http import HttpStore
from diag.upload.local import LocalStore
from diag.upload.pace import Pace
from diag.upload.stores import open_store
from diag.upload.uploader import Drained, Uploader, backoff_s, drain, drain_out, pause_s


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store in a folder of its own."""
    return LocalStore((tmp_path / "store").as_uri())


class Faulty(LocalStore):
    """A store that writes down what is put, and fails where it is told to."""

    def __init__(self, url: str, fault: Callable[[str], None] = lambda key: None) -> None:
        super().__init__(url)
        self.fault = fault
        self.puts: list[str] = []

    def put(self, key: str, source: Path, **announced: Any) -> None:
        """Store it, unless it is to fail."""
        self.fault(key)
        super().put(key, source, **announced)
        self.puts.append(key)


@pytest.fixture
def faulty(store: LocalStore) -> Faulty:
    """The same folder through a store that can be told to fail."""
    return Faulty(store.url)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until it holds, at most TIMEOUT_S."""
    ends = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.005)


def test_the_manifest_goes_last_and_crashes_first(spool: Spool, faulty: Faulty) -> None:
    """A reader never sees a manifest before its files, and small crashes do not wait for big profiles."""
    profile = put_capture(spool, make_capture("profile", now() - timedelta(hours=1)), b"x" * 100_000)
    crash = put_capture(spool)

    assert drain(spool, faulty, "default", deadline=None) == Drained(stored=2)

    assert faulty.puts == [
        keys.key("default", one.capture_id, name) for one in (crash, profile) for name in ("report.json", keys.MANIFEST)
    ]
    assert spool.account() == Account(received=2, stored=2)
    assert [one.capture_id for one in catalogue.newest(faulty, "default")] == [crash.capture_id, profile.capture_id]


def test_a_viewer_takes_what_the_spool_holds(spool: Spool, home: Path) -> None:
    """Against a real viewer: all is delivered, and a repeat changes nothing."""
    captures = [put_capture(spool) for _ in range(3)]
    with running(home / "viewer") as viewer:
        store = HttpStore(viewer.url)

        assert drain(spool, store, "default", deadline=None) == Drained(stored=3)

        assert [one.capture_id for one in catalogue.newest(store, "default")] == [
            one.capture_id for one in reversed(captures)
        ]
        assert catalogue.find(store, "default", captures[1].capture_id) == captures[1]
        with catalogue.fetch(store, "default", captures[0].capture_id, "report.json") as source:
            assert json.load(source) == {"header": {}}


def test_a_store_that_is_down_stops_the_pass_and_loses_nothing(spool: Spool, faulty: Faulty) -> None:
    """What was sent half is sent again, and ends up once in the store."""
    captures = [put_capture(spool) for _ in range(3)]

    def down(key: str) -> None:
        if key.endswith(keys.MANIFEST) and captures[0].capture_id in key:  # sent as the second
            raise StoreUnreachable("down")

    faulty.fault = down
    first = drain(spool, faulty, "default", deadline=None)
    faulty.fault = lambda key: None

    assert (first.stored, first.failed, type(first.trouble)) == (1, 1, StoreUnreachable)
    assert spool.account().pending == 2
    assert drain(spool, faulty, "default", deadline=None) == Drained(stored=2)
    assert len(list(faulty.objects("v1/"))) == 6


def test_refused_credentials_stop_at_once(spool: Spool, faulty: Faulty) -> None:
    """A wrong token is said once, not once a capture."""
    for _ in range(3):
        put_capture(spool)
    asked: list[str] = []

    def refuse(key: str) -> None:
        asked.append(key)
        raise StoreRefused("no")

    faulty.fault = refuse
    drained = drain(spool, faulty, "default", deadline=None)

    assert isinstance(drained.trouble, StoreRefused)
    assert len(asked) == 1
    assert spool.account().pending == 3


def test_one_bad_capture_does_not_block_the_rest(spool: Spool, faulty: Faulty) -> None:
    """An answer nobody expects fails one capture; three in a row stop the pass."""
    bad, *good = [put_capture(spool, make_capture(moment=now() + timedelta(seconds=number))) for number in range(3)]

    def choke(key: str) -> None:
        if bad.capture_id in key:
            raise StoreError("500")

    faulty.fault = choke
    drained = drain(spool, faulty, "default", deadline=None)

    assert (drained.stored, drained.failed) == (2, 1)
    assert [id_of(folder) for folder in spool.pending()] == [bad.capture_id]
    assert len(good) == 2


def test_what_the_store_will_never_take_is_quarantined(spool: Spool, store: LocalStore) -> None:
    """Other bytes under the same key, and damage on our own disk, are set aside with the reason; the rest goes on."""
    conflict, damaged, good = [put_capture(spool) for _ in range(3)]
    other = spool.root.parent / "other"
    other.write_bytes(b"other")
    store.put(
        keys.key("default", conflict.capture_id, "report.json"),
        other,
        size_bytes=5,
        sha256=hashlib.sha256(b"other").hexdigest(),
        content_type="application/json",
    )
    folder_of(spool, damaged).joinpath("report.json").write_bytes(b"x")

    assert drain(spool, store, "default", deadline=None) == Drained(stored=1, quarantined=2)

    assert spool.account() == Account(received=3, stored=1, quarantined=2)
    assert [one.capture_id for one in catalogue.newest(store, "default")] == [good.capture_id]
    reasons = [
        next(spool.root.glob(f"quarantine/*/{one.capture_id}*/.reason")).read_text() for one in (conflict, damaged)
    ]
    assert "exists already with other bytes" in reasons[0]
    assert "not the file that its manifest describes" in reasons[1]


def test_a_capture_that_another_process_stored_meanwhile_is_no_failure(spool: Spool, faulty: Faulty) -> None:
    """Two uploaders on one spool: the slower one finds nothing to do."""
    captures = [put_capture(spool) for _ in range(3)]

    def faster(key: str) -> None:
        for one in captures:
            spool.stored(one.capture_id)

    faulty.fault = faster
    drained = drain(spool, faulty, "default", deadline=None)

    assert (drained.failed, drained.quarantined, drained.trouble) == (0, 0, None)
    assert spool.account() == Account(received=3, stored=3)


def test_what_made_room_while_it_was_sent_is_stored_and_no_loss(spool: Spool, store: LocalStore) -> None:
    """A full spool drops a capture whose manifest is on its way: it arrives, so it does not count as lost."""

    class Late(LocalStore):
        def put(self, key: str, source: Path, **announced: Any) -> None:
            super().put(key, source, **announced)
            if key.endswith(keys.MANIFEST):
                spool.drop(sent.capture_id, "quota")

    sent = put_capture(spool)

    assert drain(spool, Late(store.url), "default", deadline=None).stored == 1

    assert spool.account() == Account(received=1, stored=1)
    assert [one.capture_id for one in catalogue.newest(store, "default")] == [sent.capture_id]


def test_a_deadline_ends_the_pass(spool: Spool, store: LocalStore) -> None:
    """When the time is up the rest waits, and it says so."""
    put_capture(spool)

    drained = drain(spool, store, "default", deadline=time.monotonic())

    assert (drained.stored, type(drained.trouble)) == (0, StoreUnreachable)
    assert spool.account().pending == 1


def test_an_uploader_killed_at_any_moment_loses_and_doubles_nothing(spool: Spool, faulty: Faulty) -> None:
    """Killed before each object, then run again: each capture is in the store once."""
    for _ in range(3):
        put_capture(spool)

    def kill_after(puts: int, key: str) -> None:
        if len(faulty.puts) == puts:
            os.kill(os.getpid(), signal.SIGKILL)

    for puts in range(4):
        faulty.fault = partial(kill_after, puts)
        child = os.fork()
        if child == 0:
            try:
                drain(spool, faulty, "default", deadline=None)
            finally:
                os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    faulty.fault = lambda key: None

    assert drain(spool, faulty, "default", deadline=None).stored == 1
    assert spool.account() == Account(received=3, stored=3)
    assert len(list(faulty.objects("v1/"))) == 6


class Busy(Faulty):
    """A store that takes four captures at a time."""

    at_once = 4


@pytest.fixture
def busy(store: LocalStore) -> Busy:
    """The same folder, by four at a time."""
    return Busy(store.url)


def test_captures_go_side_by_side_each_in_its_order(spool: Spool, busy: Busy) -> None:
    """Four are on their way together, and of each the manifest comes last."""
    captures = [put_capture(spool) for _ in range(30)]
    meeting, count = threading.Barrier(4), itertools.count(1)

    def meet(key: str) -> None:
        # Two objects of the first, which goes alone; then the first objects of four that have to be there together.
        if 3 <= next(count) <= 6:
            meeting.wait(TIMEOUT_S)

    busy.fault = meet
    assert drain(spool, busy, "default", deadline=None) == Drained(stored=30)

    assert spool.account() == Account(received=30, stored=30)
    for one in captures:
        puts = [key.rpartition("/")[2] for key in busy.puts if one.capture_id in key]
        assert puts == ["report.json", keys.MANIFEST]


def test_the_first_trouble_ends_the_handing_out(spool: Spool, busy: Busy) -> None:
    """What is on its way is finished or waits on; nothing is lost, doubled or counted wrong."""
    for _ in range(40):
        put_capture(spool)
    tried: set[str] = set()

    def down(key: str) -> None:
        tried.add(key.split("/")[6])
        if len(tried) > 5:
            raise StoreUnreachable("down")

    busy.fault = down
    drained = drain(spool, busy, "default", deadline=None)

    assert isinstance(drained.trouble, StoreUnreachable)
    assert len(tried) <= 5 + busy.at_once
    account = spool.account()
    assert (account.stored, account.pending) == (drained.stored, 40 - drained.stored)
    assert drained.failed >= 1
    assert drained.stored + drained.failed == len(tried)
    busy.fault = lambda key: None
    assert drain(spool, busy, "default", deadline=None).stored == account.pending
    assert len(list(busy.objects("v1/"))) == 80


def test_the_first_capture_goes_alone(spool: Spool, busy: Busy) -> None:
    """A store that refuses us refuses once, not four times at once."""
    for _ in range(10):
        put_capture(spool)
    asked: list[str] = []

    def refuse(key: str) -> None:
        asked.append(key)
        raise StoreRefused("no")

    busy.fault = refuse
    drain(spool, busy, "default", deadline=None)

    assert len(asked) == 1


def test_a_deadline_ends_what_goes_side_by_side(spool: Spool, busy: Busy) -> None:
    """What was handed out is finished, the rest waits, and the account is right."""
    for _ in range(20):
        put_capture(spool)

    def late(key: str) -> None:
        if len(busy.puts) >= 6:
            uploading._deadline = 0.0

    busy.fault = late
    uploading = uploader._Pass(spool, busy, "default", time.monotonic() + 3600)
    drained = uploading.run()

    assert "time was up" in str(drained.trouble)
    assert 1 <= drained.stored < 20
    assert spool.account().pending == 20 - drained.stored


def test_two_at_once_never_send_the_same(spool: Spool, store: LocalStore) -> None:
    """A capture that somebody is sending is left to them."""
    for _ in range(30):
        put_capture(spool)
    stores = [Busy(store.url), Busy(store.url)]
    found: list[Drained] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(drain(spool, one, "default", deadline=None)))
        for one in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert sum(one.stored for one in found) >= 30 - sum(one.failed for one in found)
    assert [one.trouble for one in found] == [None, None]
    assert spool.account() == Account(received=30, stored=30)


@pytest.mark.parametrize("kind", ["s3", "oss"])
def test_many_captures_reach_a_bucket(spool: Spool, kind: str, request: pytest.FixtureRequest) -> None:
    """Side by side over one client: all are there, whole, and a bound on the rate changes nothing of that."""
    captures = [put_capture(spool, content=os.urandom(5000)) for _ in range(24)]
    big = put_capture(spool, make_capture("memory"), os.urandom(17 * MIB))
    url = request.getfixturevalue(f"{kind}_url")
    target = open_store(url, pace=Pace(64 * MIB))

    assert drain(spool, target, "default", deadline=None) == Drained(stored=25)

    stored = {one.capture_id: one for one in catalogue.newest(target, "default")}
    assert stored == {one.capture_id: one for one in [*captures, big]}
    for one in (captures[3], big):
        with catalogue.fetch(target, "default", one.capture_id, "report.json") as source:
            assert hashlib.sha256(source.read()).hexdigest() == one.artifacts[0].sha256


# --- the background loop --------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come after milliseconds instead of seconds."""
    monkeypatch.setattr(uploader, "backoff_s", lambda attempt: 0.01)


@pytest.fixture
def background(spool: Spool, faulty: Faulty) -> Iterator[Uploader]:
    """An uploader that has not been started, and is stopped at the end."""
    one = Uploader(spool, faulty, "default")
    yield one
    one.stop(deadline_s=TIMEOUT_S)
    assert "diag-uploader" not in {thread.name for thread in threading.enumerate()}


def test_it_sends_what_waits_and_what_comes(spool: Spool, background: Uploader) -> None:
    """What an earlier agent left is sent at the start, and new captures when it is woken."""
    put_capture(spool)
    background.start()
    wait_for(lambda: spool.account().stored == 1)

    put_capture(spool)
    background.wake()

    wait_for(lambda: spool.account().stored == 2)
    wait_for(lambda: background.stored == 2)


@pytest.mark.usefixtures("quick")
def test_it_tries_again_until_the_store_is_back(spool: Spool, background: Uploader, faulty: Faulty) -> None:
    """A store that is down delays nothing and loses nothing; the failures are counted."""

    def down(key: str) -> None:
        raise StoreUnreachable("down")

    faulty.fault = down
    put_capture(spool)
    background.start()
    wait_for(lambda: background.failures["StoreUnreachable"] >= 3)
    assert isinstance(background.trouble, StoreUnreachable)

    faulty.fault = lambda key: None

    wait_for(lambda: spool.account().stored == 1)
    wait_for(lambda: background.trouble is None)


@pytest.mark.usefixtures("quick")
def test_a_mistake_of_ours_never_reaches_the_agent(spool: Spool, background: Uploader, faulty: Faulty) -> None:
    """Whatever goes wrong inside is counted, and it goes on."""

    def broken(key: str) -> None:
        raise ZeroDivisionError

    faulty.fault = broken
    put_capture(spool)
    background.start()
    wait_for(lambda: background.failures["ZeroDivisionError"] >= 2)

    faulty.fault = lambda key: None

    wait_for(lambda: spool.account().stored == 1)


def test_stopping_sends_what_waits_within_its_time(spool: Spool, background: Uploader) -> None:
    """The last capture of an instance is not left behind when there is time for it."""
    background.start()
    put_capture(spool)

    background.stop(deadline_s=TIMEOUT_S)

    assert spool.account().stored == 1


def test_stopping_without_time_waits_for_nobody(spool: Spool, background: Uploader, faulty: Faulty) -> None:
    """An upload that hangs does not hold up the end of the instance."""
    reached, released = threading.Event(), threading.Event()

    def hang(key: str) -> None:
        reached.set()
        assert released.wait(TIMEOUT_S)

    faulty.fault = hang
    put_capture(spool)
    background.start()
    assert reached.wait(TIMEOUT_S)

    background.stop(deadline_s=0.0)

    assert spool.account().pending == 1
    released.set()


def test_stopping_what_never_started_is_harmless(background: Uploader) -> None:
    """An agent that ends before its first capture has nothing to stop."""
    background.stop(deadline_s=0.0)


def test_back_off_grows_to_its_cap_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many agents that lost the same viewer do not come back at the same time."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)

    assert [backoff_s(attempt) for attempt in (1, 2, 3, 4, 9, 10, 1000)] == [1, 2, 4, 8, 256, 300, 300]
    monkeypatch.undo()
    assert len({backoff_s(5) for _ in range(20)}) == 20


def test_the_store_says_how_long_to_leave_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After is obeyed, within reason; refused credentials are tried rarely."""
    monkeypatch.setattr(uploader, "backoff_s", lambda attempt: 2.0)
    busy = StoreUnreachable("busy")

    assert pause_s(1, busy) == 2.0
    busy.retry_after_s = 30.0
    assert pause_s(1, busy) == 30.0
    busy.retry_after_s = 1e9
    assert pause_s(1, busy) == 3600.0
    assert pause_s(1, StoreRefused("who are you")) == 300.0


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", None), ("soon", None), ("Fri, 20 Nov 1999 00:00:00 GMT", 0.0)]
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    """Both forms of the header are read; anything else asks for nothing."""
    assert retry_after_s(header) == seconds


def test_importing_it_is_cheap() -> None:
    """The agent carries no HTTP library until it delivers to a viewer."""
    heavy = ("urllib3", "rich", "ssl")
    script = f"import sys, diag.upload.uploader, diag.upload.stores; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


# --- the catalogue --------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(spool: Spool, store: LocalStore) -> list[Capture]:
    """Captures of different hours, days and years in the store, newest first."""
    ages = [timedelta(0), timedelta(minutes=70), timedelta(days=1), timedelta(days=40), timedelta(days=500)]
    captures = [put_capture(spool, make_capture(moment=now() - age)) for age in ages]
    drain(spool, store, "default", deadline=None)
    return captures


def test_the_newest_come_first(store: LocalStore, stored: list[Capture]) -> None:
    """Hours, days and years are walked backwards."""
    assert list(catalogue.newest(store, "default")) == stored
    assert list(catalogue.newest(store, "other")) == []


def test_only_the_hours_that_are_asked_for_are_listed(
    store: LocalStore, stored: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since and until bound the captures, and old folders are not even looked into."""
    listed: list[str] = []
    original = store.folders
    monkeypatch.setattr(store, "folders", lambda prefix: listed.append(prefix) or original(prefix))

    found = list(
        catalogue.newest(store, "default", since=now() - timedelta(hours=30), until=now() - timedelta(hours=1))
    )

    assert found == stored[1:3]
    old = keys.moment_of(stored[4].capture_id)
    assert f"v1/default/{old:%Y}/" not in listed
    assert next(catalogue.newest(store, "default")) == stored[0]


def test_a_folder_without_a_manifest_is_no_capture(store: LocalStore, stored: list[Capture]) -> None:
    """An upload that is under way, and a manifest nobody can read, are skipped."""
    store.delete(keys.key("default", stored[0].capture_id, keys.MANIFEST))
    (store.root / keys.key("default", stored[1].capture_id, keys.MANIFEST)).write_bytes(b"{")
    swapped = store.root / keys.key("default", stored[2].capture_id, keys.MANIFEST)
    swapped.write_text(json.dumps(stored[3].to_json()))

    assert list(catalogue.newest(store, "default")) == stored[3:]


@pytest.mark.parametrize("length", [1, 9, 13, 14, 20, 36])
def test_a_capture_is_found_by_the_start_of_its_id(store: LocalStore, stored: list[Capture], length: int) -> None:
    """A unique start names a capture; one that fits several is refused with the candidates."""
    wanted = stored[3].capture_id[:length]
    if length == 1:
        with pytest.raises(UsageError) as caught:
            catalogue.find(store, "default", wanted)
        assert stored[0].capture_id in caught.value.help_text
    else:
        assert catalogue.find(store, "default", wanted.upper()) == stored[3]


@pytest.mark.parametrize(
    "wanted", ["", "zz", "../..", "ffffffff", "019-", "0" * 40, "01234567-89ab-7def-8123-456789abcdef"]
)
def test_an_id_that_nobody_has_is_said_to_be_unknown(store: LocalStore, stored: list[Capture], wanted: str) -> None:
    """Whatever is typed, the answer is a sentence."""
    with pytest.raises(NoSuchCapture):
        catalogue.find(store, "default", wanted)


def test_a_fetched_file_is_verified(store: LocalStore, stored: list[Capture]) -> None:
    """What the store holds is handed out only if it is what the manifest says."""
    capture_id = stored[0].capture_id
    with catalogue.fetch(store, "default", capture_id, "report.json") as source:
        assert source.read() == b'{"header": {}}\n'
    with pytest.raises(NoSuchCapture, match="has no file"):
        catalogue.fetch(store, "default", capture_id, "../x")

    path = store.root / keys.key("default", capture_id, "report.json")
    for damaged in (b'{"header": []}\n', b"", b"x" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(CorruptCapture):
            catalogue.fetch(store, "default", capture_id, "report.json")
    path.unlink()
    with pytest.raises(CorruptCapture, match="lost"):
        catalogue.fetch(store, "default", capture_id, "report.json")


def test_what_another_is_sending_is_waited_for(spool: Spool, store: LocalStore) -> None:
    """Who wants everything stored waits for another sender, and sends what that one leaves."""
    held = open_folder(folder_of(spool, put_capture(spool)))
    assert try_lock(held)
    found: list[Drained] = []
    flushing = threading.Thread(target=lambda: found.append(drain_out([spool], store, "default", deadline=None)))

    flushing.start()
    flushing.join(0.5)
    waited = flushing.is_alive()
    os.close(held)
    flushing.join(TIMEOUT_S)

    assert waited
    assert [one.stored for one in found] == [1]
    assert spool.account().stored == 1
