"""The uploader as a process of its own: one for a spool, harmless to everybody, and heard where it has trouble."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from machine import TIMEOUT_S
from oss_server import OssServer
from ports import reserved_port
from spooled import put_capture
from viewers import running

from diag import config
from diag.spool import Spool
from diag.upload import background, catalogue, status
from diag.upload.background import ensure
from diag.upload.stores import open_store
from diag.upload.uploader import drain

Wait = Callable[[Callable[[], object]], None]
Diag = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def reaped() -> Iterator[None]:
    """The test is the agent here: what it has started is waited for, as the agent's loop does."""
    yield
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


@pytest.fixture
def spool() -> Spool:
    """The spool of this machine, with a capture in it."""
    spool = Spool.of(config.load())
    put_capture(spool)
    return spool


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a viewer that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def pid_of(spool: Spool) -> int:
    """The uploader that is there, or was last."""
    return int((spool.root / background.LOCK).read_text().split()[0])


def is_free(spool: Spool) -> bool:
    """Whether the spool has no uploader any more."""
    with (spool.root / background.LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def arrived(spool: Spool, store: str) -> int:
    """How many captures are stored, while agents with this store come: a busy machine ends no uploader at once."""
    ensure(config.load({"store": store}))
    return spool.account().stored


def test_it_sends_what_waits_and_what_comes_and_ends(spool: Spool, home: Path, wait_for: Wait) -> None:
    """One process sends all of it, and is gone when nothing comes any more."""
    with running(home / "viewer") as viewer:
        settings = config.load({"store": viewer.url})
        ensure(settings)
        pid = pid_of(spool)
        wait_for(lambda: spool.account().stored == 1)
        put_capture(spool)
        ensure(settings)

        wait_for(lambda: spool.account().stored == 2)
        assert pid_of(spool) == pid
        wait_for(lambda: is_free(spool))

    assert os.waitpid(pid, 0) == (pid, 0)
    assert status.read(spool.root) is None


@pytest.mark.parametrize("kind", ["s3", "oss"])
def test_it_sends_to_buckets(kind: str, spool: Spool, request: pytest.FixtureRequest, wait_for: Wait) -> None:
    """The credentials in the agent's environment are its own, too."""
    settings = config.load({"store": request.getfixturevalue(f"{kind}_url")})
    put_capture(spool)

    ensure(settings)

    wait_for(lambda: spool.account().stored == 2)
    assert len(list(catalogue.newest(open_store(settings.store_url), "default"))) == 2


def test_the_agent_loads_no_network_library(spool: Spool, silent: str) -> None:
    """Nothing of the uploader's weight is in the agent, whatever the store."""
    script = """
import sys
from diag import config
from diag.agent.delivery import Delivery
for store in ("s3://bucket", "oss://bucket?region=cn-hangzhou", sys.argv[1]):
    Delivery(config.load({"store": store})).wake()
print([name for name in ("urllib3", "botocore", "oss2", "requests", "ssl", "http") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", script, silent], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def open_files(proc: Path) -> dict[str, str]:
    """What a process has open, by descriptor; what it closes just now is left out."""
    files = {}
    for link in (proc / "fd").iterdir():
        with suppress(FileNotFoundError):
            files[link.name] = str(link.readlink())
    return files


def test_it_holds_nothing_of_the_agents(
    spool: Spool, silent: str, wait_for: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor, no folder, no session: nothing of it keeps an instance, its pipes or its mounts from ending."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    monkeypatch.chdir(tmp_path)

    ensure(config.load({"store": silent}))

    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    proc = Path(f"/proc/{pid_of(spool)}")
    wait_for(lambda: b"diag.upload.background" in (proc / "cmdline").read_bytes())
    files = open_files(proc)
    assert {files[number] for number in "012"} == {"/dev/null"}
    assert str(spool.root / background.LOCK) in files.values()
    assert str((proc / "cwd").readlink()) == "/"
    assert os.getsid(pid_of(spool)) == pid_of(spool)


def test_one_is_enough(spool: Spool, silent: str) -> None:
    """Whoever comes while there is an uploader starts no other."""
    settings = config.load({"store": silent})
    ensure(settings)
    first = pid_of(spool)

    for _ in range(3):
        put_capture(spool)
        ensure(settings)

    assert pid_of(spool) == first
    assert not is_free(spool)


def test_another_diag_does_not_send_what_is_being_sent(spool: Spool, silent: str, diag: Diag, wait_for: Wait) -> None:
    """A capture that is on its way is left to whoever sends it, and flush says so."""
    (folder,) = spool.pending()
    inode = str(folder.stat().st_ino)
    ensure(config.load({"store": silent}))

    def taken() -> bool:
        """Whether somebody has locked it, told without trying: who tries may keep the uploader from it."""
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return any(row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode for row in rows)

    wait_for(taken)

    flushed = diag("flush")

    assert flushed.returncode == 5
    assert "another diag is writing or sending" in flushed.stderr
    assert spool.account().pending == 1


def test_trouble_is_told_and_taken_back(spool: Spool, home: Path, diag: Diag, wait_for: Wait) -> None:
    """What nobody sees in the background stands in doctor and flush, until it works again."""
    with reserved_port() as port:
        ensure(config.load({"store": f"http://127.0.0.1:{port}"}))
        wait_for(lambda: status.read(spool.root))

        checks = {check["name"]: check for check in json.loads(diag("doctor", "--json").stdout)["checks"]}
        assert checks["uploader"]["outcome"] == "limited"
        assert "does not answer: Connection refused" in checks["uploader"]["what"]
        assert "next try at" in checks["uploader"]["what"]
        down = diag("flush", DIAG_STORE=f"http://127.0.0.1:{port}")
        assert "the uploader has had trouble for" in down.stderr

        with running(home / "viewer", "--port", str(port)):
            wait_for(lambda: spool.account().stored == 1)
            wait_for(lambda: status.read(spool.root) is None)


TOKENS = "agent right\nadmin root\n"


def test_refused_credentials_are_told_and_new_ones_taken(
    spool: Spool, home: Path, wait_for: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token is tried rarely; an agent that comes with another one is served at once."""
    (home / "tokens").write_text(TOKENS)
    (home / "tokens").chmod(0o600)
    with running(home / "viewer", "--tokens", str(home / "tokens")) as viewer:
        monkeypatch.setenv("DIAG_TOKEN", "wrong")
        ensure(config.load({"store": viewer.url}))
        first = pid_of(spool)
        wait_for(lambda: (told := status.read(spool.root)) and told.refused)
        ensure(config.load({"store": viewer.url}))
        assert pid_of(spool) == first

        monkeypatch.setenv("DIAG_TOKEN", "right")

        wait_for(lambda: arrived(spool, viewer.url) == 1)
    assert os.waitpid(first, 0)[0] == first


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:9", "nowhere://bucket"])
def test_who_comes_with_another_store_is_served(wrong: str, spool: Spool, home: Path, wait_for: Wait) -> None:
    """A store that was named wrongly keeps nobody waiting who names the right one; nothing has to be ended by hand."""
    ensure(config.load({"store": wrong}))
    wait_for(lambda: status.read(spool.root))
    with running(home / "viewer") as viewer:
        put_capture(spool)

        wait_for(lambda: arrived(spool, viewer.url) == 2)


def test_it_ends_where_others_have_sent_all(spool: Spool, home: Path, wait_for: Wait) -> None:
    """An uploader that cannot even open its store does not stay for ever."""
    ensure(config.load({"store": "nowhere://bucket"}))
    wait_for(lambda: status.read(spool.root))

    assert drain(spool, open_store((home / "store").as_uri()), "default", deadline=None).stored == 1

    wait_for(lambda: is_free(spool))


def test_a_corrected_file_is_noticed(spool: Spool, home: Path, wait_for: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who puts the right token into the settings file waits for seconds, not for the next try."""
    (home / "tokens").write_text(TOKENS)
    (home / "tokens").chmod(0o600)
    file = home / ".config/diag/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('token = "wrong"\n')
    with running(home / "viewer", "--tokens", str(home / "tokens")) as viewer:
        monkeypatch.setenv("DIAG_STORE", viewer.url)
        ensure(config.load())
        wait_for(lambda: (told := status.read(spool.root)) and told.refused)

        file.write_text('token = "right"\n')

        wait_for(lambda: spool.account().stored == 1)


def test_it_ends_with_its_spool(spool: Spool, wait_for: Wait) -> None:
    """Where the spool is removed, nothing of it is left running."""
    ensure(config.load({"store": "http://127.0.0.1:9"}))
    pid = pid_of(spool)
    wait_for(lambda: status.read(spool.root))

    # What the uploader writes there at that moment keeps rm from removing the folder.
    wait_for(lambda: subprocess.run(["rm", "-rf", spool.root], capture_output=True, check=False).returncode == 0)

    until = time.monotonic() + TIMEOUT_S
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_without_a_spool_nothing_is_started() -> None:
    """An agent that could not keep its capture has nothing to send."""
    ensure(config.load({"store": "http://127.0.0.1:9"}))
    assert not config.load().spool_dir.exists()


def test_a_clock_that_is_off_is_told(
    spool: Spool, oss_url: str, oss_server: OssServer, monkeypatch: pytest.MonkeyPatch, diag: Diag, wait_for: Wait
) -> None:
    """Captures are stored all the same, and doctor says by how much the clock is off."""
    clock = oss_server.now
    monkeypatch.setattr(oss_server, "now", lambda: clock() - 3660)

    ensure(config.load({"store": oss_url}))

    wait_for(lambda: spool.account().stored == 1)
    wait_for(lambda: status.read(spool.root))
    checked = {one["name"]: one for one in json.loads(diag("doctor", "--json", DIAG_STORE=oss_url).stdout)["checks"]}
    assert "this machine's clock is 61 minutes ahead of the store's" in checked["store"]["what"]
    assert "61 minutes ahead" in checked["uploader"]["what"]
    assert (checked["store"]["outcome"], checked["uploader"]["outcome"]) == ("limited", "limited")
