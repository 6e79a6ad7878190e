"""Uploads and downloads past the viewer: what a signed request can do, and above all what it cannot."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import deaths
import pytest
import requests
from buckets import Bucket, oss_bucket, s3_bucket
from machine import TIMEOUT_S
from oss_server import OssServer
from s3_gate import gated
from s3_server import S3, Asked, Reply
from viewers import Running, running

from diag.errors import NoSuchObject, StoreConflict, StoreRefused, StoreUnreachable
from diag.model import new_capture_id
from diag.upload import keys
from diag.upload.http import HttpStore

TOKENS = "viewer v-token\nadmin a-token\nagent g-token\n"
BODY = b'{"header": {}}\n'

Serve = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(params=["s3", "oss v4", "oss v1"])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """A bucket of each kind; this process has no keys to it."""
    kind, _, auth = request.param.partition(" ")
    server = request.getfixturevalue(f"{kind}_server")
    with oss_bucket(server, auth) if auth else s3_bucket(server) as one:
        yield one


@pytest.fixture
def serve(home: Path) -> Serve:
    """Starts a viewer over a store, with a token of three roles."""
    (home / "tokens").write_text(TOKENS)

    @contextmanager
    def start(url: str, environ: dict[str, str], *arguments: str) -> Iterator[Running]:
        more = ("--tokens", str(home / "tokens"), "--store", url, *arguments)
        with running(home / "unused", *more, environ=environ) as one:
            yield one

    return start


@pytest.fixture
def viewer(bucket: Bucket, serve: Serve) -> Iterator[Running]:
    """A viewer over the bucket, as it is started without further options."""
    with serve(bucket.store_url, bucket.environ) as one:
        yield one


def artifact(body: bytes = BODY, **says: Any) -> dict[str, Any]:
    """What is announced of an artifact."""
    sums = {"sha256": hashlib.sha256(body).hexdigest(), "md5": hashlib.md5(body).hexdigest()}
    return {"name": "report.json", "size_bytes": len(body), **sums, **says}


def ask(viewer: Running, capture_id: str, *artifacts: dict[str, Any], token: str = "g-token") -> requests.Response:
    """Ask for uploads, one like `artifact()` where none is named."""
    return viewer.ask(
        "POST", f"api/v1/captures/{capture_id}/uploads", token, json={"artifacts": artifacts or (artifact(),)}
    )


def offered(viewer: Running, capture_id: str, **says: Any) -> dict[str, Any]:
    """The signed request for one artifact."""
    found: dict[str, Any] = ask(viewer, capture_id, artifact(**says)).json()["uploads"][0]["request"]
    return found


def send(request: dict[str, Any], body: bytes = BODY, url: str = "", **changed: str | None) -> int:
    """Make a signed request, with other headers or another address; returns the status."""
    headers = {name.lower(): value for name, value in request["headers"].items()}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    sent = {name: value for name, value in headers.items() if value is not None}
    return requests.request(
        request["method"], url or request["url"], data=body, headers=sent, timeout=TIMEOUT_S, allow_redirects=False
    ).status_code


def put(store: HttpStore, folder: Path, body: bytes = BODY, key: str = "") -> str:
    """Put bytes as the uploader does; returns the key."""
    key = key or keys.key("default", new_capture_id(), "report.json")
    source = folder / "source"
    source.write_bytes(body)
    sha256 = hashlib.sha256(body).hexdigest()
    store.put(key, source, size_bytes=len(body), sha256=sha256, content_type="application/json")
    return key


# --- what goes past the viewer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", BODY, os.urandom(20_000_000)], ids=["empty", "small", "large"])
def test_an_object_goes_straight_into_the_bucket(bucket: Bucket, viewer: Running, tmp_path: Path, body: bytes) -> None:
    """Its bytes come from the agent itself, once, and the viewer's token does not come with them."""
    store = HttpStore(viewer.url, "g-token")

    key = put(store, tmp_path, body)
    put(store, tmp_path, body, key)

    (seen,) = bucket.puts()
    assert bucket.objects()[f"some/where/{key}"] == hashlib.md5(body).hexdigest()
    assert "authorization" not in seen.headers
    assert "g-token" not in str(seen)
    assert seen.headers["user-agent"].startswith("diag/")
    with pytest.raises(StoreConflict):
        put(store, tmp_path, body + b"x", key)


def test_a_crash_without_credentials_reaches_its_page(bucket: Bucket, viewer: Running, home: Path) -> None:
    """An instance that has a token alone leaves its report in the bucket, and the viewer shows it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OSS_"))}
    environ |= {"DIAG_STORE": viewer.url, "DIAG_TOKEN": "g-token"}

    def diag(*arguments: str) -> int:
        command = [sys.executable, "-m", "diag", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, timeout=4 * TIMEOUT_S, check=False).returncode

    assert diag("run", "--name", "shop", "--", sys.executable, "-c", "raise ValueError('no such item')") == 1
    assert diag("flush") == 0

    (capture,) = viewer.get("api/v1/captures", "v-token").json()["captures"]
    sent = {one.key.rpartition("/")[2]: one.headers["user-agent"] for one in bucket.puts()}
    assert set(sent) == {one["name"] for one in capture["artifacts"]}
    assert all(agent.startswith("diag/") for agent in sent.values())
    ours = [key for key in bucket.objects() if capture["capture_id"] in key]  # beside it stands the agent's account
    assert {key.rpartition("/")[2] for key in ours} == {*sent, "manifest.json"}
    assert "no such item" in viewer.get(f"captures/{capture['capture_id']}", "v-token").text


def test_a_manifest_is_checked_against_what_came_past(bucket: Bucket, viewer: Running) -> None:
    """The manifest comes through the viewer, which knows what the bucket has."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    wrong = [("size_bytes", len(data) + 1), ("sha256", "0" * 64)]

    assert viewer.put(made.key(), made.manifest, "g-token").status_code == 422
    assert send(offered(viewer, made.id, body=data, name=name), data) == 200
    for field, value in wrong:
        artifacts = tuple(type(one).from_json({**one.to_json(), field: value}) for one in made.capture.artifacts)
        assert viewer.put(made.key(), made.with_manifest(artifacts=artifacts).manifest, "g-token").status_code == 422
    assert viewer.put(made.key(), made.manifest, "g-token").status_code == 201
    assert viewer.get(f"captures/{made.id}", "v-token").status_code == 200


# --- what a signed request cannot do --------------------------------------------------------------------------------


def test_a_signed_request_is_good_for_one_object(bucket: Bucket, viewer: Running) -> None:
    """Other bytes, other keys, other headers and other methods are refused, and nothing is stored."""
    request = offered(viewer, new_capture_id())
    other = offered(viewer, new_capture_id(), body=b"other")

    assert {send(request, body) for body in (b"other", BODY + b"x", b"")} <= {400, 403}
    assert send(request, url=request["url"].replace("report.json", "other.json")) == 403
    assert send(request, b"other", content_md5=other["headers"]["Content-MD5"]) == 403
    assert send({**request, "method": "DELETE"}) == 403
    assert send({**request, "method": "GET"}, b"") == 403
    assert send(request, content_type="text/html") == 403
    for name in request["headers"]:
        if name.lower() not in ("content-md5", "content-type"):
            assert send(request, **{name.replace("-", "_").lower(): None}) == 403, name
    assert bucket.objects() == {}
    assert send(request) == 200


def test_a_signed_request_replaces_nothing(bucket: Bucket, viewer: Running) -> None:
    """Two requests for one key with different bytes: the first object stays."""
    capture_id = new_capture_id()
    first, second = offered(viewer, capture_id), offered(viewer, capture_id, body=b"other")

    assert send(first) == 200
    assert {send(second, b"other"), send(first)} <= {409, 412}
    assert set(bucket.objects().values()) == {hashlib.md5(BODY).hexdigest()}


def test_a_signed_request_expires(bucket: Bucket, viewer: Running) -> None:
    """After ten minutes it is worth nothing."""
    request = offered(viewer, new_capture_id())

    bucket.pass_time(601)
    assert send(request) == 403
    bucket.pass_time(540)
    assert send(request) == 200


def test_how_long_can_be_set(bucket: Bucket, serve: Serve) -> None:
    """--url-minutes is how long a request can be used."""
    with serve(bucket.store_url, bucket.environ, "--url-minutes", "1") as viewer:
        request = offered(viewer, new_capture_id())

        bucket.pass_time(61)
        assert send(request) == 403


# --- what the viewer does not sign ----------------------------------------------------------------------------------


def test_stored_and_complete_is_said_and_nothing_signed(bucket: Bucket, viewer: Running) -> None:
    """What is there needs no request, other bytes conflict, and a capture with a manifest is closed."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    assert viewer.put(made.key(name), data, "g-token").status_code == 201

    there = ask(viewer, made.id, artifact(data, name=name)).json()["uploads"]
    assert ask(viewer, made.id, artifact(b"other", name=name)).status_code == 409
    viewer.deliver(made, "g-token")
    more = ask(viewer, made.id, artifact(name="more.bin")).json()["uploads"]

    assert there == [{"name": name, "stored": True, "request": None}]
    assert more == [{"name": "more.bin", "stored": False, "request": None}]


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (400, [artifact(name="../x")]),
        (400, [artifact(name="manifest.json")]),
        (400, [artifact(name=".hidden")]),
        (400, [artifact(name=7)]),
        (400, [artifact(size_bytes=-1)]),
        (400, [artifact(size_bytes=True)]),
        (413, [artifact(size_bytes=2**30 + 1)]),
        (400, [artifact(sha256="0" * 63)]),
        (400, [artifact(md5="x")]),
        (400, [artifact(md5=None)]),
        (400, []),
        (400, [7]),
        (400, [artifact(name=f"a{number}") for number in range(101)]),
        (400, "artifacts"),
    ],
)
def test_what_cannot_be_asked_is_refused(viewer_of_one: Running, status: int, asked: Any) -> None:
    """Names, sizes, sums and numbers are checked before anything is signed."""
    path = f"api/v1/captures/{new_capture_id()}/uploads"

    answer = viewer_of_one.ask("POST", path, "g-token", json={"artifacts": asked})

    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.fixture
def viewer_of_one(oss_server: OssServer, serve: Serve) -> Iterator[Running]:
    """A viewer over one kind of bucket, for what does not depend on it."""
    with oss_bucket(oss_server) as bucket, serve(bucket.store_url, bucket.environ) as one:
        yield one


def test_only_agents_ask(viewer_of_one: Running) -> None:
    """A reader's token gets nothing signed, nor does a wrong id, a page or half a document."""
    path = f"api/v1/captures/{new_capture_id()}/uploads"
    assert ask(viewer_of_one, new_capture_id(), token="v-token").status_code == 403
    assert ask(viewer_of_one, new_capture_id(), token="").status_code == 401
    assert ask(viewer_of_one, "..").status_code in (400, 404)
    assert ask(viewer_of_one, "x").status_code == 400
    assert viewer_of_one.ask("POST", path, "g-token", data=b"{").status_code == 400
    assert viewer_of_one.ask("POST", path, "g-token", data=b"[" * 70_000).status_code == 413


def test_nothing_is_signed_where_that_is_set_or_cannot_be(
    bucket: Bucket, serve: Serve, home: Path, tmp_path: Path
) -> None:
    """With --uploads through, and over a folder, all goes through the viewer."""
    for url, more in ((bucket.store_url, ("--uploads", "through")), ((home / "folder").as_uri(), ())):
        with serve(url, bucket.environ, *more) as viewer:
            assert offered(viewer, new_capture_id()) is None
            key = put(HttpStore(viewer.url, "g-token"), tmp_path)
            assert HttpStore(viewer.url, "g-token").stat(key) is not None
    assert bucket.puts() == []


def test_a_server_that_replaces_objects_signs_nothing(s3_server: S3, serve: Serve, tmp_path: Path) -> None:
    """Where If-None-Match is ignored, a request could replace what is there; so none is given."""

    def ignore(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.method != "PUT" or "If-None-Match" not in asked.headers:
            return None
        reply = forward()
        return (
            reply if reply.status == 200 else Reply(200, b"", (("ETag", f'"{hashlib.md5(asked.body).hexdigest()}"'),))
        )

    with gated(s3_server) as (proxy, gate):
        gate.rule = ignore
        url = s3_server.store_url(s3_server.bucket(f"b-{os.urandom(8).hex()}"), "", proxy.url)
        with serve(url, s3_server.keys.environ()) as viewer:
            assert offered(viewer, new_capture_id()) is None
            put(HttpStore(viewer.url, "g-token"), tmp_path)


# --- when the way past the viewer is blocked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>Welcome</html>"), (403, b""), (302, b""), (503, b"<html>Blocked</html>"), (400, b"")],
    ids=["page", "refused", "redirect", "proxy", "bad"],
)
def test_what_the_bucket_does_not_take_goes_through_the_viewer(
    bucket: Bucket, viewer: Running, tmp_path: Path, status: int, body: bytes
) -> None:
    """A login wall, a proxy or a refusal loses nothing, and is not tried again with each capture."""
    bucket.answer(status, body, Location="http://127.0.0.1:1/")
    store = HttpStore(viewer.url, "g-token")

    first, second = put(store, tmp_path), put(store, tmp_path, b"second")

    assert set(bucket.objects()) == {f"some/where/{first}", f"some/where/{second}"}
    assert len(bucket.puts()) == 1


def test_a_bucket_that_cannot_be_reached_costs_one_attempt(bucket: Bucket, viewer: Running, tmp_path: Path) -> None:
    """The agent's network need not lead to the bucket."""
    bucket.hang_up()
    store = HttpStore(viewer.url, "g-token")

    first, second = put(store, tmp_path), put(store, tmp_path, b"second")

    assert set(bucket.objects()) == {f"some/where/{first}", f"some/where/{second}"}
    assert len(bucket.puts()) == 1


def test_a_busy_bucket_is_left_alone_for_as_long_as_it_asks(bucket: Bucket, viewer: Running, tmp_path: Path) -> None:
    """503 with the request id of a store is the store's word; nothing in the error is of the URL's signature."""
    named = "x_amz_request_id" if bucket.store_url.startswith("s3") else "x_oss_request_id"
    bucket.answer(503, b"", **{named: "1", "Retry_After": "17"})

    with pytest.raises(StoreUnreachable) as caught:
        put(HttpStore(viewer.url, "g-token"), tmp_path)

    assert caught.value.retry_after_s == 17
    assert "?" not in f"{caught.value} {caught.value.help_text}"
    assert bucket.objects() == {}


def test_an_answer_that_proves_nothing_is_looked_up(bucket: Bucket, viewer: Running, tmp_path: Path) -> None:
    """Where an ETag is no MD5, the viewer knows what is there, and nothing is sent twice."""
    bucket.hide_sums()
    store = HttpStore(viewer.url, "g-token")

    keys_put = [put(store, tmp_path, body) for body in (b"first", b"second")]

    assert len(bucket.puts()) == 2
    assert set(bucket.objects()) == {f"some/where/{key}" for key in keys_put}


def test_signatures_are_nowhere_to_be_read(
    bucket: Bucket, viewer: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs, however wordy, nor what the viewer prints hold a signed address."""
    caplog.set_level(logging.DEBUG)
    put(HttpStore(viewer.url, "g-token"), tmp_path)
    bucket.answer(403)
    put(HttpStore(viewer.url, "g-token"), tmp_path)

    assert len(bucket.puts()) == 2
    said = [record.getMessage() for record in caplog.records if not record.name.startswith("botocore")]  # the server's
    assert [line for line in said if "ignature" in line] == []
    viewer.process.terminate()
    assert viewer.process.stderr is not None
    assert b"ignature" not in viewer.process.stderr.read()


# --- downloads ------------------------------------------------------------------------------------------------------


def test_downloads_come_from_the_bucket_where_that_is_set(bucket: Bucket, serve: Serve, tmp_path: Path) -> None:
    """Readers are sent to a file to save, by an address that nobody keeps; our own client asks for none."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    with serve(bucket.store_url, bucket.environ, "--downloads", "presigned") as viewer:
        viewer.deliver(made, "g-token")
        for path in (f"api/v1/objects/{made.key(name)}", f"captures/{made.id}/artifacts/{name}"):
            answer = viewer.get(path, "v-token")
            file = requests.get(answer.headers["Location"], timeout=TIMEOUT_S)

            assert (answer.status_code, answer.content) == (303, b"")
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert file.content == data
            assert file.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            assert file.headers["Content-Type"] == "application/json"
            assert (
                requests.get(answer.headers["Location"].replace(name, "manifest.json"), timeout=TIMEOUT_S).status_code
                == 403
            )
            assert viewer.get(path).status_code in (302, 401)
        assert viewer.get(f"api/v1/objects/{made.key(name)}", "g-token").status_code == 403
        assert viewer.get(f"api/v1/objects/{made.key('none.json')}", "v-token").status_code == 404
        before = len(bucket.presigned())
        with HttpStore(viewer.url, "v-token").open(made.key(name)) as source:
            assert source.read() == data
        with pytest.raises(NoSuchObject):
            HttpStore(viewer.url, "v-token").open(made.key("none.json"))
        assert len(bucket.presigned()) == before
        bucket.pass_time(601)
        assert requests.get(answer.headers["Location"], timeout=TIMEOUT_S).status_code == 403


def test_an_agent_is_offered_no_way_to_read(bucket: Bucket, serve: Serve) -> None:
    """A token of the role agent gets upload requests only, whatever the settings are."""
    made = deaths.made(deaths.segfault())
    with serve(bucket.store_url, bucket.environ, "--downloads", "presigned") as viewer:
        viewer.deliver(made, "g-token")

        with pytest.raises(StoreRefused):
            HttpStore(viewer.url, "g-token").open(made.key())
        request = offered(viewer, new_capture_id())
        assert send({**request, "method": "GET"}, b"", url=request["url"]) == 403
