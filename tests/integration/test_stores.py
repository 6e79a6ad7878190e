"""What every store promises, tried on each; and what only one of them can do wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from killing import run_and_kill
from machine import TIMEOUT_S
from oss_server import OssServer
from s3_gate import gated
from s3_server import S3
from spooled import make_capture
from viewers import running

from diag.errors import (
    BadSetting,
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
)
from diag.model import new_capture_id, now
from diag.upload import keys
from diag.upload.http import HttpStore
from diag.upload.local import LocalStore
from diag.upload.oss import OssStore
from diag.upload.s3 import S3Store
from diag.upload.store import Store, StoredObject
from diag.upload.stores import STORES, open_store

TOKENS = "viewer v-token\nadmin a-token\nagent g-token\n"


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A viewer with a token of three roles; its URL and its store's folder."""
    folder = tmp_path_factory.mktemp("viewer")
    (folder / "tokens").write_text(TOKENS)
    environ = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")}
    with running(folder / "store", "--tokens", str(folder / "tokens"), environ=environ) as one:
        yield one.url, one.store


@pytest.fixture(scope="module")
def viewer_of_s3(s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a viewer whose store is a bucket of S3, which alone has the keys."""
    with gated(s3_server) as (proxy, _):
        url = s3_server.store_url(s3_server.bucket(f"b-{os.urandom(8).hex()}"), "some/where", proxy.url)
        with _viewer_of(url, tmp_path_factory.mktemp("viewer"), s3_server.keys.environ()) as one:
            yield one


@pytest.fixture(scope="module")
def viewer_of_oss(oss_server: OssServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a viewer whose store is a bucket of OSS, which alone has the keys."""
    bucket = f"b-{os.urandom(8).hex()}"
    oss_server.make_bucket(bucket)
    url = f"oss://{bucket}/some/where?endpoint={oss_server.endpoint}&region={oss_server.region}"
    environ = {"OSS_ACCESS_KEY_ID": "test-key", "OSS_ACCESS_KEY_SECRET": "test-secret"}
    with _viewer_of(url, tmp_path_factory.mktemp("viewer"), environ) as one:
        yield one


@contextmanager
def _viewer_of(url: str, folder: Path, environ: dict[str, str]) -> Iterator[str]:
    (folder / "tokens").write_text(TOKENS)
    own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run"), **environ}
    with running(folder / "unused", "--tokens", str(folder / "tokens"), "--store", url, environ=own) as one:
        yield one.url


@pytest.fixture(params=["file", "http", "s3", "oss", "viewer_of_s3", "viewer_of_oss"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn."""
    if request.param == "file":
        return open_store((tmp_path / "store").as_uri())
    if request.param in ("s3", "oss"):
        return open_store(request.getfixturevalue(f"{request.param}_url"))
    if request.param.startswith("viewer_of"):
        return open_store(request.getfixturevalue(request.param), "a-token")
    return open_store(request.getfixturevalue("viewer")[0], "a-token")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    """Puts bytes under a key; `says` replaces what is announced of them."""

    def put_bytes(store: Store, key: str, content: bytes, **says: object) -> str:
        source = tmp_path / "source"
        source.write_bytes(content)
        announced = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **says}
        store.put(key, source, content_type="application/octet-stream", **announced)  # type: ignore[arg-type]
        return key

    return put_bytes


def some_key(name: str = "report.json", capture_id: str | None = None) -> str:
    """A key that nobody uses yet."""
    return keys.key("default", capture_id or new_capture_id(), name)


def content_of(store: Store, key: str) -> bytes:
    """The object's bytes."""
    with store.open(key) as source:
        return source.read()


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3_000_000)], ids=["empty", "one", "big"])
def test_what_was_put_comes_back(store: Store, put: Callable[..., str], content: bytes) -> None:
    """The same bytes and the same size come back."""
    key = put(store, some_key(), content)

    assert content_of(store, key) == content
    assert store.stat(key) == StoredObject(key, len(content))


def test_the_same_bytes_again_do_nothing(store: Store, put: Callable[..., str]) -> None:
    """A repeat after a lost answer is harmless."""
    key = put(store, some_key(), b"first")
    put(store, key, b"first")

    assert content_of(store, key) == b"first"


@pytest.mark.parametrize("content", [b"other", b"firs!"], ids=["other size", "same size"])
def test_other_bytes_under_the_same_key_conflict(store: Store, put: Callable[..., str], content: bytes) -> None:
    """Objects are immutable."""
    key = put(store, some_key(), b"first")

    with pytest.raises(StoreConflict):
        put(store, key, content)

    assert content_of(store, key) == b"first"


@pytest.mark.parametrize("says", [{"sha256": "0" * 64}, {"size_bytes": 4}, {"size_bytes": 6}], ids=str)
def test_bytes_that_are_not_the_announced_ones_are_not_stored(
    store: Store, put: Callable[..., str], says: dict[str, object]
) -> None:
    """A damaged upload leaves nothing behind, and is refused for good."""
    key = some_key()

    with pytest.raises(StoreRejected):
        put(store, key, b"first", **says)

    assert store.stat(key) is None


def test_what_is_not_there_is_said_to_be_missing(store: Store) -> None:
    """stat says None, open raises, delete does nothing, listings are empty."""
    key = some_key()

    assert store.stat(key) is None
    with pytest.raises(NoSuchObject):
        store.open(key)
    store.delete(key)
    prefix = key.rpartition("/")[0] + "/"
    assert store.folders(prefix) == []
    assert list(store.objects(prefix)) == []


@pytest.mark.parametrize(
    "key", ["../x", "v1/../../x", "/etc/passwd", "", "v1//x", "v1/./x", "v1/.hidden", "v1/a\\..\\b/..", "v1/\0", "v1/é"]
)
def test_a_key_that_is_a_path_is_refused(store: Store, put: Callable[..., str], key: str, tmp_path: Path) -> None:
    """No key leads out of the store, whatever is done with it."""
    with pytest.raises(StoreError):
        put(store, key, b"x")
    for use in (store.open, store.stat, store.delete):
        try:
            assert use(key) is None
        except StoreError:
            continue
    assert [path.name for path in tmp_path.iterdir()] in (["source"], ["source", "store"], ["store", "source"])


def test_listings_are_in_key_order_and_go_on_after_a_key(store: Store, put: Callable[..., str]) -> None:
    """objects() sorts by the whole key, keeps to the prefix and continues where it was left."""
    moment = datetime(2020, 3, 1, tzinfo=UTC) + timedelta(hours=os.getpid() % 1000)  # all of them are in one year
    ids = [new_capture_id(moment + timedelta(minutes=61 * number)) for number in range(3)]
    put_keys = sorted(
        put(store, some_key(name, one), name.encode()) for one in ids for name in ("b.json", "a-b", "a.txt", "a")
    )
    prefix = f"v1/default/{moment:%Y}/"

    listed = [one.key for one in store.objects(prefix) if one.key in put_keys]

    assert listed == put_keys
    assert [one.key for one in store.objects(prefix, start_after=put_keys[5]) if one.key in put_keys] == put_keys[6:]
    assert [one.key for one in store.objects(keys.prefix("default", ids[1]))] == put_keys[4:8]
    assert [one.key for one in store.objects(keys.prefix("default", ids[1]) + "a")] == put_keys[4:7]
    assert {one.size_bytes for one in store.objects(keys.prefix("default", ids[1]) + "a-b")} == {3}


def test_folders_are_the_next_parts(store: Store, put: Callable[..., str]) -> None:
    """A listing with a delimiter gives the parts below a prefix, once each, sorted."""
    moment = now() - timedelta(days=900 + os.getpid() % 100)
    first, second = new_capture_id(moment), new_capture_id(moment + timedelta(seconds=1))
    for one in (first, second):
        put(store, some_key("a", one), b"a")
        put(store, some_key("b", one), b"b")
    hours = [f"v1/default/{moment:%Y/%m/%d/%H}/", f"v1/default/{moment + timedelta(seconds=1):%Y/%m/%d/%H}/"]

    found = [folder for hour in dict.fromkeys(hours) for folder in store.folders(hour)]

    assert found == [f"{first}/", f"{second}/"]
    assert f"{moment:%m}/" in store.folders(f"v1/default/{moment:%Y}/")
    assert store.folders(keys.prefix("default", first)) == []


def test_a_deleted_object_is_gone_with_its_folder(store: Store, put: Callable[..., str]) -> None:
    """Where nothing is left, no folder is listed; deleting twice is harmless."""
    capture_id = new_capture_id()
    for name in ("a", "b"):
        put(store, some_key(name, capture_id), b"x")
    hour = keys.prefix("default", capture_id).removesuffix(f"{capture_id}/")

    store.delete(some_key("a", capture_id))
    assert f"{capture_id}/" in store.folders(hour)
    store.delete(some_key("b", capture_id))
    store.delete(some_key("b", capture_id))

    assert f"{capture_id}/" not in store.folders(hour)
    put(store, some_key("a", capture_id), b"again")


def test_many_writers_of_one_object_agree(store: Store, put: Callable[..., str], tmp_path: Path) -> None:
    """Two uploaders with the same capture both succeed, and the object is whole."""
    key, content = some_key(), os.urandom(500_000)
    put(store, some_key(), b"first")  # past the greeting, which is not what is tried here
    source = tmp_path / "same"
    source.write_bytes(content)
    failures: list[Exception] = []

    def write() -> None:
        try:
            sha256 = hashlib.sha256(content).hexdigest()
            store.put(key, source, size_bytes=len(content), sha256=sha256, content_type="application/octet-stream")
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert failures == []
    assert content_of(store, key) == content


def test_it_can_be_checked(store: Store) -> None:
    """check() is silent where a put would work."""
    store.check()


# --- the settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://x/y", "gs://bucket", "", "/var/lib/diag", "file:/x", "C:\\x"])
def test_an_unknown_store_is_refused_by_name(url: str) -> None:
    """The refusal says what can be said instead."""
    with pytest.raises(BadSetting) as caught:
        open_store(url)

    assert repr(url) in str(caught.value)
    assert "file://" in caught.value.help_text


@pytest.mark.parametrize(
    "url",
    [
        "file://host/x",
        "file:///x%00y",
        "http://",
        "http://user:secret@host",
        "http://host:99999",
        "https://h/?a=b",
        *(f"{scheme}://[secret" for scheme in STORES),
    ],
)
def test_a_store_that_cannot_be_meant_is_refused(url: str) -> None:
    """A URL that says something which nobody would do is a mistake, and a password in it is not repeated."""
    with pytest.raises(BadSetting) as caught:
        open_store(url)

    assert "secret" not in str(caught.value)


def test_a_folder_is_named_by_its_bytes(tmp_path: Path, put: Callable[..., str]) -> None:
    """A folder whose name is no UTF-8 is the one that is used, not another that looks like it."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")

    put(open_store(folder.as_uri()), some_key(), b"x")

    assert [one.name for one in tmp_path.iterdir() if (one / "v1").is_dir()] == [folder.name]


def test_each_scheme_has_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of stores is what is opened."""
    monkeypatch.setenv("OSS_REGION", "cn-hangzhou")
    assert {scheme: type(open_store(f"{scheme}://{'/x' if scheme == 'file' else 'bucket'}")) for scheme in STORES} == {
        "file": LocalStore,
        "http": HttpStore,
        "https": HttpStore,
        "s3": S3Store,
        "oss": OssStore,
    }


# --- the folder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    """A store in a folder, whose name needs quoting."""
    return LocalStore((tmp_path / "my store%").as_uri())


def test_local_files_are_private_and_leave_no_residue(folder: LocalStore, put: Callable[..., str]) -> None:
    """Folders are 0700 and files 0600, and nothing else stays, also where a put fails."""
    put(folder, some_key(), b"x")
    with pytest.raises(StoreRejected):
        put(folder, some_key(), b"x", sha256="0" * 64)

    found = [folder.root, *folder.root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
    assert [path.stat().st_mode & 0o777 for path in found if path.is_file()] == [0o600]


def test_an_object_that_goes_while_it_is_opened_is_missing(folder: LocalStore, put: Callable[..., str]) -> None:
    """A reader that meets a removal hears that there is no such object, not that the store has failed."""
    key = put(folder, some_key(), b"x")
    path, child = folder.root / key, os.fork()
    if child == 0:
        status = 70
        try:
            sys.addaudithook(lambda event, said: path.unlink(missing_ok=True) if event == "open" else None)
            folder.open(key)
        except NoSuchObject:
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_local_writer_that_was_killed_leaves_no_object(folder: LocalStore, put: Callable[..., str]) -> None:
    """Killed at any step, the key holds nothing or everything, and the next attempt clears up behind it."""
    for step in range(100):
        key, content = some_key(), b"x" * 2_000_000

        ended = run_and_kill(step, partial(put, folder, key, content))

        found = folder.stat(key)
        assert found is None or content_of(folder, key) == content
        put(folder, key, content)
        assert [path.name for path in (folder.root / key).parent.iterdir()] == ["report.json"]
        if ended:
            assert step > 5
            return
    pytest.fail("it never came to its end")


def test_a_file_system_without_hard_links_works(
    folder: LocalStore, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network and container file systems have no links; objects are stored all the same."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    key = put(folder, some_key(), b"x")

    assert content_of(folder, key) == b"x"
    with pytest.raises(StoreConflict):
        put(folder, key, b"y")


def test_a_local_store_that_cannot_be_written_says_why(tmp_path: Path, put: Callable[..., str]) -> None:
    """A file where the folder should be is not the capture's fault: it waits."""
    (tmp_path / "file").write_text("")
    broken = LocalStore((tmp_path / "file" / "store").as_uri())

    with pytest.raises(StoreUnreachable, match="Not a directory"):
        put(broken, some_key(), b"x")
    with pytest.raises(StoreUnreachable):
        broken.check()


# --- the viewer -----------------------------------------------------------------------------------------------------


def test_a_token_that_is_not_known_is_refused(viewer: tuple[str, Path], put: Callable[..., str]) -> None:
    """A wrong, missing or too small token stops the upload; the capture is not to blame."""
    for token in ("wrong", ""):
        with pytest.raises(StoreRefused):
            put(HttpStore(viewer[0], token), some_key(), b"x")
    with pytest.raises(StoreRefused, match="viewer"):
        HttpStore(viewer[0], "v-token").check()
    with pytest.raises(StoreRefused):
        put(HttpStore(viewer[0], "v-token"), some_key(), os.urandom(8_000_000))


def test_an_agents_token_delivers(viewer: tuple[str, Path], put: Callable[..., str]) -> None:
    """The agent's role may put and see that it is there, and reads nothing."""
    agent = HttpStore(viewer[0], "g-token")
    agent.check()
    key = put(agent, some_key(), b"x")

    assert agent.stat(key) == StoredObject(key, 1)
    with pytest.raises(StoreRefused):
        agent.open(key)


def test_a_viewer_of_another_tenant_refuses_all_alike(viewer: tuple[str, Path], put: Callable[..., str]) -> None:
    """A wrong tenant is a setting to correct, not a bad capture."""
    key = keys.key("other", new_capture_id(), "a")

    with pytest.raises(StoreRefused, match="tenant 'default'") as caught:
        put(HttpStore(viewer[0], "g-token"), key, b"x")

    assert "DIAG_TENANT=default" in caught.value.help_text


def test_a_manifest_that_names_what_is_not_there_is_rejected(viewer: tuple[str, Path], put: Callable[..., str]) -> None:
    """The viewer checks a manifest against what came before it; that capture will never be taken."""
    capture = make_capture()

    with pytest.raises(StoreRejected):
        put(HttpStore(viewer[0], "g-token"), some_key(keys.MANIFEST, capture.capture_id), b"{}")


def test_a_viewer_that_is_not_there_is_unreachable(put: Callable[..., str]) -> None:
    """Nobody listens, or nobody has the name: try again later."""
    with pytest.raises(StoreUnreachable, match="Connection refused"):
        put(HttpStore("http://127.0.0.1:9"), some_key(), b"x")
    with pytest.raises(StoreUnreachable, match="name is not known"):
        put(HttpStore("http://nobody.invalid"), some_key(), b"x")


def test_a_viewer_without_tls_is_unreachable(viewer: tuple[str, Path], put: Callable[..., str]) -> None:
    """https spoken to something else fails as what it is, and the token is not sent in the clear."""
    with pytest.raises(StoreUnreachable, match="TLS") as caught:
        put(HttpStore(viewer[0].replace("http://", "https://"), "g-token"), some_key(), b"x")

    assert "SSL_CERT_FILE" in caught.value.help_text


@contextmanager
def _answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[HttpStore, list[str]]]:
    """A server that answers everything like this, and what it was asked: method, path and credentials."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            answer(self)

        do_PUT = do_HEAD = do_DELETE = do_GET

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield HttpStore(f"http://127.0.0.1:{server.server_port}", "g-token"), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _reply(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


WHOAMI = b'{"app": "diag", "role": "agent", "version": "1"}'


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"", b"[]", b'{"app": "shop"}', b"[" * 100_000],
    ids=["html", "empty", "list", "app", "deep"],
)
def test_a_page_with_status_200_is_no_success(put: Callable[..., str], body: bytes) -> None:
    """A login wall that answers everything with 200 stores nothing, and no capture's byte is sent to it."""
    with _answering(_reply(200, body)) as (store, asked):
        with pytest.raises(StoreUnreachable, match="not a diag viewer"):
            put(store, some_key(), b"x")

    assert [line.split()[0] for line in asked] == ["GET"]


def test_a_redirect_is_not_followed(put: Callable[..., str]) -> None:
    """The token goes to the address that was set, and to no other."""
    with _answering(_reply(200, WHOAMI)) as (_, elsewhere_asked):
        with _answering(_reply(307, b"", Location="http://127.0.0.1:1/\x1b[31m")) as (store, asked):
            with pytest.raises(StoreError, match=r"redirects to http://127\.0\.0\.1:1/ ") as caught:
                put(store, some_key(), b"x")

    assert elsewhere_asked == []
    assert asked == ["GET /api/v1/whoami Bearer g-token"]
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, StoreRefused),
        (403, StoreRefused),
        (409, StoreConflict),
        (413, StoreRejected),
        (422, StoreRejected),
        (500, StoreError),
        (503, StoreUnreachable),
        (507, StoreUnreachable),
    ],
)
def test_each_status_has_its_meaning(put: Callable[..., str], status: int, kind: type[StoreError]) -> None:
    """The viewer's own sentence and help reach the user, and the type says whether to try again."""
    said = b'{"error": "It is \\u001b[31m so.", "help": "Do this."}'

    def answer(request: BaseHTTPRequestHandler) -> None:
        (_reply(200, WHOAMI) if request.path.endswith("whoami") else _reply(status, said))(request)

    with _answering(answer) as (store, _):
        with pytest.raises(kind, match=r"It is  ?\[31m so") as caught:
            put(store, some_key(), b"x")

    assert type(caught.value) is kind
    assert caught.value.help_text == "Do this."


def test_an_answer_that_breaks_off_is_unreachable() -> None:
    """Half an object is no object."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith("whoami"):
            return _reply(200, WHOAMI)(request)
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"half")
        return None

    with _answering(answer) as (store, _), pytest.raises(StoreUnreachable):
        store.open(some_key())


def test_a_listing_that_never_ends_is_given_up() -> None:
    """A server that repeats its page does not keep a reader forever."""
    page = b'{"objects": [{"key": "a", "size_bytes": 1}], "next": "a"}'

    def answer(request: BaseHTTPRequestHandler) -> None:
        (_reply(200, WHOAMI) if request.path.endswith("whoami") else _reply(200, page))(request)

    with _answering(answer) as (store, _), pytest.raises(StoreError, match="again and again"):
        list(store.objects("v1/"))
