"""The index of a running viewer: built, read anew, damaged, shared, and cut off."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import deaths
import pytest
import requests
from machine import TIMEOUT_S
from postgres import Postgres, serving_postgres
from viewers import Running, running

from diag.model import now
from diag.upload import keys

HOURS = 120
BANNER = re.compile(r"The index is being built(?: anew)?:</strong> ([0-9,]+) captures? so far")


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait until it has happened. Who asks for pages more often keeps the viewer from its work on a busy machine."""
    ends = time.monotonic() + 4 * TIMEOUT_S
    while not happened():
        assert time.monotonic() < ends, what
        time.sleep(0.5)


def fill(store: Path, hours: int = HOURS) -> set[str]:
    """A capture in each of the last hours, the newest hours left out: a page alone would not find them."""
    made = [deaths.made(deaths.killed(at=now() - timedelta(hours=back + 3))) for back in range(hours)]
    return {deaths.write(one, store).id for one in made}


@contextmanager
def slow(store: Path, everything: set[str]) -> Iterator[None]:
    """Who reads the store, newest first, waits at the hundredth capture until the context ends.

    By a lease on its manifest (fcntl(2)), which makes whoever opens it wait: 45 s, or what fs.lease-break-time says.
    """
    manifest = store / keys.key("default", sorted(everything)[-100], keys.MANIFEST)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which the kernel would tell that somebody waits
    try:
        with manifest.open("r+b") as leased:
            fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            yield
    finally:
        signal.signal(signal.SIGIO, before)


def built(viewer: Running) -> int | None:
    """How many captures the page says are in; None where it says nothing of building."""
    answer = viewer.get("")
    assert answer.status_code == 200
    found = BANNER.search(answer.text)
    return int(found[1].replace(",", "")) if found else None


def begun(viewer: Running) -> int:
    """How many captures the page says are in, once it is a few: read once, because the building goes on meanwhile."""
    seen: list[int] = []

    def is_begun() -> bool:
        seen.append(built(viewer) or 0)
        return seen[-1] >= 5

    wait_until(is_begun, "the index to be begun")
    return seen[-1]


def listed(viewer: Running) -> set[str]:
    """The ids of everything that is listed."""
    found: set[str] = set()
    cursor = ""
    while True:
        answer = viewer.get(f"api/v1/captures?limit=100&cursor={cursor}").json()
        found |= {one["capture_id"] for one in answer["captures"]}
        cursor = answer["next"]
        if not cursor:
            return found


@pytest.fixture
def index_url(request: pytest.FixtureRequest, home: Path) -> str:
    """Where the viewer's index is: a file, or a database of a real PostgreSQL."""
    if request.param == "sqlite":
        return str(home / "index.sqlite")
    return str(request.getfixturevalue("postgres").database())


both = pytest.mark.parametrize("index_url", ["sqlite", "postgresql"], indirect=True)


@both
def test_it_answers_while_the_index_is_built_and_goes_on_after_a_kill(home: Path, index_url: str) -> None:
    """At a first start pages answer at once and say how far it is; killed, the next viewer goes on from there."""
    store = home / "store"
    everything = fill(store)
    with slow(store, everything), running(store, "--index", index_url) as viewer:
        before = begun(viewer)
        assert viewer.get("healthz").json() == {"status": "ok"}
        os.killpg(viewer.process.pid, signal.SIGKILL)
        viewer.process.wait(TIMEOUT_S)
    assert before < HOURS

    with ExitStack() as viewers:
        with slow(store, everything):
            viewer = viewers.enter_context(running(store, "--index", index_url))
            after = built(viewer)
            assert after is not None and after >= before
        wait_until(lambda: built(viewer) is None, "the index to be built")
        assert listed(viewer) == everything


@both
def test_reindexing_hides_nothing_and_goes_on_after_a_kill(home: Path, index_url: str) -> None:
    """`--reindex` keeps every capture listed all the time; a kill in the middle is made up for without being asked."""
    store = home / "store"
    everything = fill(store)
    with running(store, "--index", index_url) as viewer:
        wait_until(lambda: built(viewer) is None, "the index to be built")
    with slow(store, everything), running(store, "--index", index_url, "--reindex") as viewer:
        begun(viewer)
        assert "being built anew" in viewer.get("").text and "being built anew" in viewer.get("instances").text
        assert "being built anew" in viewer.get("fragments/overview").text
        assert listed(viewer) == everything
        os.killpg(viewer.process.pid, signal.SIGKILL)
        viewer.process.wait(TIMEOUT_S)
    with ExitStack() as viewers:
        with slow(store, everything):
            viewer = viewers.enter_context(running(store, "--index", index_url))
            assert (built(viewer) or 0) >= 5
            assert listed(viewer) == everything
        wait_until(lambda: built(viewer) is None, "the index to be built")
        assert listed(viewer) == everything


def test_a_file_that_is_damaged_while_it_is_used_is_built_again(home: Path) -> None:
    """Somebody overwrites the index: pages say so once, and everything is there again without anybody's help."""
    store, index = home / "store", home / "index.sqlite"
    everything = fill(store, 20)
    with running(store, "--index", str(index)) as viewer:
        wait_until(lambda: listed(viewer) == everything, "the index to be built")
        with closing(sqlite3.connect(index, timeout=TIMEOUT_S)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what stands in the WAL would hide the damage
        size = index.stat().st_size // 4096 + 1
        noise = ["dd", "if=/dev/urandom", f"of={index}", "bs=4096", f"count={size}", "conv=notrunc"]
        subprocess.run(noise, check=True, capture_output=True)

        def recovered() -> bool:
            answer = viewer.get("api/v1/captures?limit=100")
            assert answer.status_code in (200, 503), answer.text
            return answer.status_code == 200 and len(answer.json()["captures"]) == len(everything)

        wait_until(lambda: recovered() and any(home.glob("index.sqlite.*.old")), "the damage to be seen")
        wait_until(recovered, "the index to be built again")
        assert listed(viewer) == everything
    assert len(list(home.glob("index.sqlite.*.old"))) == 1


def test_viewers_share_one_database(home: Path, postgres: Postgres) -> None:
    """Two viewers take in the same captures at once: each is there once, and a login at one holds at the other."""
    url, store = postgres.database(), home / "store"
    (home / "tokens").write_text("viewer v\nagent g\n")
    arguments = ("--index", url, "--tokens", str(home / "tokens"))
    made = [deaths.made(deaths.segfault(f"req-{n}")) for n in range(5)]
    with running(store, *arguments) as one, running(store, *arguments) as other:
        for capture in made:
            assert {*one.deliver(capture, "g"), *other.deliver(capture, "g")} <= {200, 201}
        with requests.Session() as session:
            page = session.get(one.url + "login", timeout=TIMEOUT_S).text
            csrf = re.search(r'name="csrf" value="([^"]+)"', page)
            assert csrf is not None
            session.post(one.url + "login", data={"token": "v", "csrf": csrf[1]}, timeout=TIMEOUT_S)
            found = session.get(other.url + "api/v1/captures", timeout=TIMEOUT_S)
        groups = other.get("api/v1/groups", "v").json()["groups"]

    assert {row["capture_id"] for row in found.json()["captures"]} == {capture.id for capture in made}
    assert [group["count"] for group in groups] == [5]


def test_a_database_that_goes_away_is_said_and_comes_back(home: Path) -> None:
    """While PostgreSQL is down pages say so with 503 and deliveries are stored; afterwards all is as it should be."""
    with serving_postgres("fsync=off") as server:
        with running(home / "store", "--index", server.database()) as viewer:
            first, second = deaths.made(deaths.segfault("req-1")), deaths.made(deaths.segfault("req-2"))
            viewer.deliver(first)
            server.stop()

            page = viewer.get("")
            assert (page.status_code, viewer.get("healthz").status_code) == (503, 503)
            assert "The index does not answer" in page.text and page.headers["Retry-After"]
            assert viewer.deliver(second) == [201, 201]

            server.start()
            wait_until(lambda: viewer.get("healthz").status_code == 200, "the database to be found again")
            wait_until(lambda: listed(viewer) == {first.id, second.id}, "what came meanwhile")


def test_a_database_of_another_store_is_refused_until_it_is_given(home: Path, postgres: Postgres) -> None:
    """It names the other store and what to do; with `--reindex` it becomes this store's."""
    url = postgres.database()
    with running(home / "one", "--index", url) as viewer:
        viewer.deliver(deaths.made(deaths.segfault()))
    with pytest.raises(AssertionError, match=r"index of another store.*one default"):
        with running(home / "other", "--index", url):
            pass

    with running(home / "other", "--index", url, "--reindex") as viewer:
        made = deaths.made(deaths.killed())
        viewer.deliver(made)
        assert listed(viewer) == {made.id}
