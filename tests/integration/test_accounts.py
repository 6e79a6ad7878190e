"""What an agent tells about its spool, on every store: the newest account, exact, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest
from machine import TIMEOUT_S
from spooled import MIB, put_capture
from viewers import running

from diag.errors import NoSuchObject, StoreRefused, StoreUnreachable
from diag.model import new_capture_id, valid_id
from diag.spool import Spool
from diag.upload import accounts, keys
from diag.upload.accounts import HOUR_S, LEFT_A_DAY, OFTEN_S, TOLD, WAITING_S, last_told, tell
from diag.upload.local import LocalStore
from diag.upload.store import Store
from diag.upload.stores import open_store
from diag.upload.uploader import Uploader, drain

PREFIX = keys.accounts_prefix("default")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store in a folder of its own."""
    return LocalStore((tmp_path / "store").as_uri())


@pytest.fixture(params=["file", "http", "s3", "oss"])
def each(request: pytest.FixtureRequest, home: Path) -> Iterator[Store]:
    """Each store in turn."""
    if request.param == "file":
        yield open_store((home / "each").as_uri())
    elif request.param == "http":
        with running(home / "each") as viewer:
            yield open_store(viewer.url)
    else:
        yield open_store(request.getfixturevalue(f"{request.param}_url"))


def told_keys(store: Store) -> list[str]:
    """The keys of all accounts in the store."""
    return [one.key for one in store.objects(PREFIX)]


def newest(store: Store) -> dict:
    """The account that counts: the last one of the only agent there is."""
    found = told_keys(store)
    assert len({keys.parse_account(key)[1] for key in found}) == 1  # type: ignore[index]
    with store.open(found[-1]) as source:
        return json.load(source)


def counts(spool: Spool) -> dict:
    """The account of the spool, without the age that grows meanwhile."""
    return {name: value for name, value in spool.account().to_json().items() if name != "oldest_pending_s"}


def later(spool: Spool, seconds: float) -> None:
    """Let so much time have passed since the spool told something."""
    told = last_told(spool)
    (spool.root / TOLD).write_text(json.dumps(asdict(replace(told, tried=told.tried - seconds))))


def test_every_store_has_the_newest_account_alone(spool: Spool, each: Store) -> None:
    """Each change is told under a new key and the earlier one is removed, on every store alike."""
    for number in (1, 2, 3):
        put_capture(spool)
        assert drain(spool, each, "default", deadline=None).stored == 1
        assert tell(spool, each, "default", last=True) is None

        assert len(told_keys(each)) == 1
        told = newest(each)
        assert (told["received"], told["stored"], told["pending"]) == (number, number, 0)
        assert {name: told[name] for name in counts(spool)} == counts(spool)


def test_an_account_says_who_and_when_and_no_path(spool: Spool, store: LocalStore, tmp_path: Path) -> None:
    """Id, host and version of the agent, why captures wait without secrets, and where the spool is nowhere."""
    put_capture(spool)
    trouble = StoreUnreachable(f"{spool.root} https://joe:hunter2@viewer.example does not answer; token=abcdef123456")

    tell(spool, store, "default", trouble)

    told = newest(store)
    assert told["schema"] == "diag.account/1"
    assert valid_id(told["agent"]["id"])
    assert told["agent"]["host"] == os.uname().nodename
    assert (told["pending"], told["oldest_pending_s"] >= 0) == (1, True)
    assert "does not answer" in told["trouble"]
    text = json.dumps(told)
    assert [secret for secret in ("hunter2", "abcdef123456", str(tmp_path)) if secret in text] == []


def test_nothing_is_told_of_a_spool_that_took_nothing(spool: Spool, store: LocalStore) -> None:
    """A machine on which nothing was captured makes no file and no object."""
    assert tell(spool, store, "default", last=True) is None

    assert not spool.root.exists()
    assert told_keys(store) == []


def test_an_agent_that_rests_tells_nothing(spool: Spool, store: LocalStore) -> None:
    """What did not change is not told again, however often it could be, and nobody has to wake up for it."""
    put_capture(spool)
    drain(spool, store, "default", deadline=None)
    assert tell(spool, store, "default") is None
    before = told_keys(store)

    later(spool, 10 * HOUR_S)

    assert tell(spool, store, "default") is None
    assert tell(spool, store, "default", last=True) is None
    assert told_keys(store) == before


def test_a_storm_is_told_once_a_minute_and_its_end_for_certain(spool: Spool, store: LocalStore) -> None:
    """Changes that come fast wait for their minute, unless nobody comes later."""
    put_capture(spool)
    assert tell(spool, store, "default") == WAITING_S
    put_capture(spool)

    due_s = tell(spool, store, "default")
    assert due_s is not None and 0 < due_s <= OFTEN_S
    assert newest(store)["received"] == 1
    later(spool, OFTEN_S)
    assert tell(spool, store, "default") == WAITING_S
    assert newest(store)["received"] == 2

    put_capture(spool)
    tell(spool, store, "default", last=True)
    assert newest(store)["received"] == 3


def test_what_waits_is_told_again_and_again(spool: Spool, store: LocalStore) -> None:
    """While something is pending the store hears of it every five minutes, so that silence means something."""
    put_capture(spool)
    tell(spool, store, "default")
    first = newest(store)["oldest_pending_s"]

    due_s = tell(spool, store, "default")
    assert due_s is not None and OFTEN_S < due_s <= WAITING_S
    later(spool, WAITING_S)
    tell(spool, store, "default")

    assert newest(store)["oldest_pending_s"] > first


class Keeping(LocalStore):
    """A store that lets nobody remove anything."""

    def delete(self, key: str) -> None:
        """Refuse."""
        raise StoreRefused("no")


def test_a_store_that_keeps_everything_gets_fewer(spool: Spool, tmp_path: Path) -> None:
    """Where an agent may not remove its accounts it tells less and less often, every hour in the end."""
    keeping = Keeping((tmp_path / "store").as_uri())
    for number in range(LEFT_A_DAY + 1):
        put_capture(spool)
        assert tell(spool, keeping, "default", last=True) is not None
        assert len(told_keys(keeping)) == number + 1
    put_capture(spool)

    due_s = tell(spool, keeping, "default", last=True)

    assert due_s is not None and HOUR_S - 600 < due_s <= HOUR_S
    later(spool, HOUR_S)
    tell(spool, keeping, "default")
    assert newest(keeping)["received"] == LEFT_A_DAY + 2
    # The rights came back: what was left behind goes.
    later(spool, HOUR_S)
    tell(spool, LocalStore(keeping.url), "default")
    assert len(told_keys(keeping)) == 1


def test_another_store_is_told_as_well(spool: Spool, store: LocalStore, tmp_path: Path) -> None:
    """What one store knows, another one does not."""
    put_capture(spool)
    tell(spool, store, "default", last=True)
    other = LocalStore((tmp_path / "other").as_uri())

    tell(spool, other, "default", last=True)

    assert newest(other) | {"time": "", "oldest_pending_s": 0} == newest(store) | {"time": "", "oldest_pending_s": 0}


def test_losses_have_a_time(spool: Spool, store: LocalStore) -> None:
    """When something was lost is told as long as nothing else is."""
    lost = put_capture(spool)
    tell(spool, store, "default", last=True)
    assert newest(store)["dropped_time"] is None
    spool.drop(lost.capture_id, "quota")

    tell(spool, store, "default", last=True)
    first = newest(store)
    put_capture(spool)
    tell(spool, store, "default", last=True)

    assert first["dropped"] == {"quota": 1}
    assert newest(store)["dropped_time"] == first["dropped_time"] is not None


class Failing(LocalStore):
    """A store that takes no account."""

    def put(self, key: str, source: Path, **announced: object) -> None:
        """Refuse accounts, take captures."""
        if keys.parse_account(key):
            raise StoreUnreachable("no accounts today")
        super().put(key, source, **announced)  # type: ignore[arg-type]


def test_an_account_that_fails_harms_no_capture(spool: Spool, tmp_path: Path) -> None:
    """Captures go through, the uploader has no trouble, and the account is tried again later."""
    failing = Failing((tmp_path / "store").as_uri())
    uploader = Uploader(spool, failing, "default")
    put_capture(spool)
    uploader.start()
    wait_for(lambda: uploader.stored == 1)
    uploader.stop(deadline_s=TIMEOUT_S)

    assert (uploader.trouble, uploader.failures) == (None, {})
    assert last_told(spool).refused == "no accounts today"
    assert tell(spool, failing, "default") == pytest.approx(WAITING_S, abs=TIMEOUT_S)
    tell(spool, LocalStore(failing.url), "default", last=True)
    assert newest(failing)["stored"] == 1


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until it holds, at most TIMEOUT_S."""
    ends = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.005)


def test_an_uploader_tells_what_was_withheld(spool: Spool, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that came too soon after the last one is told when its time has come, by the sleeping uploader."""
    monkeypatch.setattr(accounts, "OFTEN_S", 0.3)
    uploader = Uploader(spool, store, "default")
    put_capture(spool)
    uploader.start()
    wait_for(lambda: told_keys(store))
    for _ in range(3):
        put_capture(spool)
        uploader.wake()

    def all_are_told() -> bool:
        """Whether the account that counts says so; the uploader may remove it between the listing and the reading."""
        found = told_keys(store)
        with suppress(NoSuchObject, IndexError), store.open(found[-1]) as source:
            return bool(json.load(source)["stored"] == 4)
        return False

    wait_for(all_are_told)
    uploader.stop(deadline_s=TIMEOUT_S)


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from diag.spool import Spool
from diag.upload import accounts
from diag.upload.local import LocalStore

class Dying(LocalStore):
    steps = int(sys.argv[3])
    def step(self):
        Dying.steps -= 1
        if Dying.steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def put(self, *a, **k):
        self.step(); super().put(*a, **k); self.step()
    def delete(self, *a):
        self.step(); super().delete(*a); self.step()

accounts.tell(Spool(Path(sys.argv[1]), 64 << 20, 0), Dying(sys.argv[2]), "default", last=True)
"""


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_killed_agent_leaves_one_account_in_the_end(spool: Spool, store: LocalStore, step: int) -> None:
    """Killed before or after the new account is put or the old one removed: the next one that tells leaves one."""
    put_capture(spool)
    tell(spool, store, "default", last=True)
    put_capture(spool)
    command = [sys.executable, "-c", KILLED, str(spool.root), store.url, str(step)]
    assert subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode == -signal.SIGKILL

    put_capture(spool)
    tell(spool, store, "default", last=True)

    assert len(told_keys(store)) == 1
    assert newest(store)["received"] == 3


def test_several_processes_tell_in_order(spool: Spool, store: LocalStore) -> None:
    """Whoever of many tells last, the account with the last key is the newest one, and the only one."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path; from spooled import put_capture\n"
        "from diag.spool import Spool; from diag.upload.local import LocalStore\n"
        "from diag.upload.accounts import tell; from diag.upload.uploader import drain\n"
        "spool, store = Spool(Path(sys.argv[1]), 64 << 20, 0), LocalStore(sys.argv[2])\n"
        "for _ in range(5):\n"
        "    put_capture(spool); drain(spool, store, 'default', deadline=None)\n"
        "    tell(spool, store, 'default', last=True)\n"
    )
    folder = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", script, str(spool.root), store.url, folder]
    children = [subprocess.Popen(command) for _ in range(4)]
    assert [child.wait(TIMEOUT_S * 2) for child in children] == [0] * 4

    tell(spool, store, "default", last=True)
    assert len(told_keys(store)) == 1
    told = newest(store)
    assert (told["received"], told["stored"], told["pending"]) == (20, 20, 0)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"tried": "x"}', b'{"left": 5}', b'{"left": ["../x"], "account_id": "x"}']
)
def test_a_broken_note_costs_nothing_but_a_repeat(spool: Spool, store: LocalStore, content: bytes) -> None:
    """What a power cut leaves of the note beside the spool is passed over, and the agent keeps its id."""
    put_capture(spool)
    tell(spool, store, "default", last=True)
    agent = newest(store)["agent"]
    (spool.root / TOLD).write_bytes(content)
    put_capture(spool)

    tell(spool, store, "default", last=True)

    assert (newest(store)["received"], newest(store)["agent"]) == (2, agent)


def test_a_clock_that_was_set_back_stops_nothing(spool: Spool, store: LocalStore) -> None:
    """After a small step back the next key still sorts behind; after a big one the wrong future is removed."""
    put_capture(spool)
    tell(spool, store, "default", last=True)
    for ahead_s in (600, 400 * 86400):
        told = last_told(spool)
        wrong = new_capture_id(keys.moment_of(told.account_id) + timedelta(seconds=ahead_s))
        (key,) = told_keys(store)
        (store.root / key).rename((store.root / key).with_name(f"{wrong}.json"))
        (spool.root / TOLD).write_text(json.dumps(asdict(replace(told, account_id=wrong, tried=time.time() + ahead_s))))
        put_capture(spool)

        tell(spool, store, "default")

        assert len(told_keys(store)) == 1
        assert newest(store)["received"] == spool.account().received
