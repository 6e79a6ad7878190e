"""What can only go wrong with OSS: parts, rights, clocks, endpoints, and answers that are none."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from machine import TIMEOUT_S
from oss_server import Asked, Key, OssServer, Reply, running
from oss_server.problem import Problem

from diag.errors import (
    BadSetting,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    ToolMissing,
)
from diag.model import new_capture_id
from diag.upload import keys
from diag.upload.oss import OssStore
from diag.upload.oss_parts import PART
from diag.upload.oss_url import read_url

BUCKET, REGION = "diag-test", "cn-hangzhou"
BIG = os.urandom(1024) * (20 * 1024) + b"end"  # 20 MiB and a bit: three parts
PARTS = 3


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OssServer]:
    """A server with a bucket, and its key in the environment."""
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "a-secret")
    for name in ("OSS_SESSION_TOKEN", "OSS_REGION", "OSS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with running(tmp_path / "oss", {"a-key": Key("a-secret")}, region=REGION) as one:
        one.make_bucket(BUCKET)
        yield one


@pytest.fixture
def store(server: OssServer) -> OssStore:
    """The store in that bucket."""
    return OssStore(url_of(server))


def url_of(server: OssServer, path: str = "/pre", **more: str) -> str:
    """The URL of a store there."""
    said = {"endpoint": server.endpoint, "region": REGION, **more}
    return f"oss://{BUCKET}{path}?" + "&".join(f"{name}={value}" for name, value in said.items())


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    """Puts bytes under a key."""

    def put_bytes(store: OssStore, key: str, content: bytes) -> str:
        source = tmp_path / "source"
        source.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        store.put(key, source, size_bytes=len(content), sha256=sha256, content_type="application/octet-stream")
        return key

    return put_bytes


def some_key(name: str = "report.json") -> str:
    """A key that nobody uses yet."""
    return keys.key("default", new_capture_id(), name)


def content_of(store: OssStore, key: str) -> bytes:
    """The object's bytes."""
    with store.open(key) as source:
        return source.read()


def asked_for(server: OssServer) -> list[str]:
    """What was asked of the server, in short."""
    return [f"{one.method} {','.join(sorted(one.query))}".strip() for one in server.asked]


# --- the URL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "environ", "endpoint", "region"),
    [
        ("oss://bkt?region=cn-beijing", {}, "https://oss-cn-beijing.aliyuncs.com", "cn-beijing"),
        ("oss://bkt", {"OSS_REGION": "oss-cn-beijing"}, "https://oss-cn-beijing.aliyuncs.com", "cn-beijing"),
        ("oss://bkt?region=a-b&internal=1", {}, "https://oss-a-b-internal.aliyuncs.com", "a-b"),
        (
            "oss://bkt",
            {"OSS_ENDPOINT": "oss-a-b-internal.aliyuncs.com"},
            "https://oss-a-b-internal.aliyuncs.com",
            "a-b",
        ),
        ("oss://bkt?endpoint=http://h.example:81/&region=a", {}, "http://h.example:81", "a"),
        ("oss://bkt?endpoint=https://h.example&auth=v1", {}, "https://h.example", ""),
        ("oss://bkt?endpoint=oss-a-b.aliyuncs.com&internal=1", {}, "https://oss-a-b-internal.aliyuncs.com", "a-b"),
        ("oss://bkt?region=x", {"OSS_REGION": "y", "OSS_ENDPOINT": "e.example"}, "https://e.example", "x"),
    ],
)
def test_endpoint_and_region_follow_from_each_other(
    url: str, environ: dict[str, str], endpoint: str, region: str
) -> None:
    """The URL says it, or the usual variables, or one follows from the other."""
    place = read_url(url, environ)

    assert (place.endpoint, place.region) == (endpoint, region)


@pytest.mark.parametrize(
    "url",
    [
        "oss://user:secret@bucket?region=a",
        "oss://secret@bucket?region=a",
        "oss://bucket:80?region=a",
        "oss://bucket?region=a#secret",
        "oss://bucket?region=a&access_key_secret=secret",
        "oss://bucket?endpoint=https://user:secret@host&region=a",
        "oss://bucket?endpoint=ftp://host&region=a",
        "oss://bucket?endpoint=https://host/path&region=a",
        "oss://bucket?endpoint=https://host:99999&region=a",
        "oss://bucket?endpoint=https://host",
        "oss://bucket?endpoint=https://host&internal=1&region=a",
        "oss://bucket?region=a&region=b",
        "oss://bucket?region=a/b",
        "oss://bucket?region=a&auth=v9",
        "oss://bucket?region=a&internal=maybe",
        "oss://bucket",
        "oss://Bucket?region=a",
        "oss://b?region=a",
        "oss://?region=a",
        "oss://bucket/a//b?region=a",
        "oss://bucket/../b?region=a",
        "oss://bucket/%00?region=a",
        "oss://bucket/%FF?region=a",
        "oss://bucket/%5Cx?region=a",
        f"oss://bucket/{'x' * 701}?region=a",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    """With a sentence, and without repeating what may be a secret."""
    with pytest.raises(BadSetting) as caught:
        read_url(url, {})

    assert "secret" not in f"{caught.value} {caught.value.help_text}".replace("ACCESS_KEY_SECRET", "")


def test_the_library_is_loaded_late() -> None:
    """Naming the store costs neither the time nor the memory of oss2."""
    script = (
        "import sys; from diag.upload.stores import open_store; open_store('oss://bucket?region=a');"
        "print([name for name in ('oss2', 'requests') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_without_the_library_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is refused at once, not at the first upload."""
    monkeypatch.setitem(sys.modules, "oss2", None)
    with pytest.raises(ToolMissing) as caught:
        OssStore("oss://bucket?region=a")

    assert "diag[oss]" in caught.value.help_text


# --- what is stored -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["v1", "v4"])
@pytest.mark.parametrize("path", ["", "/a%20b+c/ü%25%3F&%23;'~=/x", "/日本", "/%F0%9F%90%9B"])
def test_odd_characters_in_the_prefix(server: OssServer, put: Callable[..., str], path: str, auth: str) -> None:
    """Whatever the prefix, keys are signed right, and come back without it."""
    store = OssStore(url_of(server, path, auth=auth))
    key, other = sorted([put(store, some_key(), b"x"), put(store, some_key("a-b"), b"yy")])
    big = put(store, some_key(), BIG)

    assert content_of(store, key) == (b"x" if key.endswith("report.json") else b"yy")
    assert [one.key for one in store.objects("v1/")] == sorted([key, other, big])
    assert next(store.objects("v1/", start_after=key)).key in (other, big)
    assert store.folders("v1/") == ["default/"]
    store.delete(key)
    assert store.stat(key) is None


def test_two_prefixes_do_not_see_each_other(server: OssServer, put: Callable[..., str]) -> None:
    """Also where one begins like the other."""
    one, other = OssStore(url_of(server, "/a")), OssStore(url_of(server, "/a-b"))
    key = put(one, some_key(), b"x")

    assert other.stat(key) is None
    assert list(other.objects("v1/")) == []
    assert list(other.objects("")) == []


def test_long_listings_go_on(server: OssServer, store: OssStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page after page, without gaps and repeats."""
    monkeypatch.setattr("diag.upload.oss.PAGE", 3)
    bucket = server.buckets[BUCKET]
    names = [f"v1/t/{number:02}/x" for number in range(20)]
    for name in names:
        bucket.publish(bucket.receive(f"pre/{name}", [b"x"], ""), False)

    assert [one.key for one in store.objects("v1/t/")] == names
    assert [one.key for one in store.objects("v1/t/", start_after=names[6])] == names[7:]
    assert store.folders("v1/t/") == [f"{number:02}/" for number in range(20)]


def test_an_object_of_another_tool_is_compared_by_its_bytes(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """It has no sha256 of ours: the same bytes do nothing, others conflict."""
    bucket, key = server.buckets[BUCKET], some_key()
    bucket.publish(bucket.receive(f"pre/{key}", [b"same"], ""), False)

    put(store, key, b"same")
    with pytest.raises(StoreConflict):
        put(store, key, b"diff")


def test_the_virtual_hosted_style_works(
    server: OssServer, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real host names, as they are used outside of tests; a proxy brings them to the test's server."""
    monkeypatch.setenv("http_proxy", server.endpoint)
    monkeypatch.delenv("no_proxy", raising=False)
    store = OssStore(f"oss://{BUCKET}/pre?endpoint=http://oss-{REGION}.aliyuncs.com")
    key = put(store, some_key(), b"x")

    assert content_of(store, key) == b"x"
    assert server.asked[0].headers["host"] == f"{BUCKET}.oss-{REGION}.aliyuncs.com"


# --- in parts -------------------------------------------------------------------------------------------------------


def test_a_large_object_goes_in_parts_and_a_repeat_sends_nothing(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """Whole at the end, verified, and a repeat costs one question."""
    key = put(store, some_key("core"), BIG)
    assert content_of(store, key) == BIG
    assert asked_for(server).count("PUT partNumber,uploadId") == PARTS
    server.asked.clear()

    put(store, key, BIG)
    with pytest.raises(StoreConflict):
        put(store, key, BIG[:-1] + b"!")

    assert asked_for(server) == ["HEAD", "HEAD"]
    assert server.buckets[BUCKET].uploads == {}


UPLOAD = """
import sys
from pathlib import Path
from diag.upload.stores import open_store
url, key, source, size, sha256 = sys.argv[1:]
open_store(url).put(key, Path(source), size_bytes=int(size), sha256=sha256, content_type="application/octet-stream")
"""


def test_a_killed_uploader_goes_on_where_it_was(
    server: OssServer,
    store: OssStore,
    put: Callable[..., str],
    tmp_path: Path,
    wait_for: Callable[[Callable[[], object]], None],
) -> None:
    """kill -9 in the middle of a part: the next one asks the server, and sends only what it lacks."""
    source, key = tmp_path / "big", some_key("core")
    source.write_bytes(BIG)
    reached, killed = threading.Event(), threading.Event()

    def hold(asked: Asked) -> Reply | None:
        if asked.query.get("partNumber") == "3" and not reached.is_set():
            next(asked.body)
            (upload,) = server.buckets[BUCKET].uploads.values()
            wait_for(lambda: sorted(upload.parts) == [1, 2])
            reached.set()
            assert killed.wait(TIMEOUT_S)
        return None

    server.before = hold
    command = [
        sys.executable,
        "-c",
        UPLOAD,
        store.url,
        key,
        str(source),
        str(len(BIG)),
        hashlib.sha256(BIG).hexdigest(),
    ]
    with subprocess.Popen(command) as child:
        try:
            assert reached.wait(TIMEOUT_S)
        finally:
            child.send_signal(signal.SIGKILL)
            assert child.wait(TIMEOUT_S) == -signal.SIGKILL
            killed.set()
    assert store.stat(key) is None
    server.asked.clear()

    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert [one.query["partNumber"] for one in server.asked if "partNumber" in one.query] == ["3"]
    assert server.buckets[BUCKET].uploads == {}


@contextmanager
def interrupted(server: OssServer, at: int) -> Iterator[None]:
    """The connection breaks at this part."""

    def answer(asked: Asked) -> Reply | None:
        return Reply(hang_up=True) if asked.query.get("partNumber") == str(at) else None

    server.before = answer
    yield
    server.before = lambda asked: None


def begin(server: OssServer, store: OssStore, put: Callable[..., str]) -> str:
    """A key whose first two parts are there."""
    key = some_key("core")
    with interrupted(server, at=3), pytest.raises(StoreUnreachable):
        put(store, key, BIG)
    (upload,) = server.buckets[BUCKET].uploads.values()
    assert sorted(upload.parts) == [1, 2]
    server.asked.clear()
    return key


def sent(server: OssServer) -> list[str]:
    """The parts that were sent."""
    return [one.query["partNumber"] for one in server.asked if "partNumber" in one.query]


def test_parts_that_vanished_or_changed_are_sent_again(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """Size and MD5 of each part are compared with the file."""
    key = begin(server, store, put)
    bucket = server.buckets[BUCKET]
    (upload,) = bucket.uploads.values()
    bucket.add_part(upload, 2, bucket.receive(upload.key, [b"x" * PART], ""))

    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert sorted(sent(server)) == ["2", "3"]


def test_a_part_that_vanishes_at_the_end_is_sent_again(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """The server misses it when the upload is completed."""
    key, lost = begin(server, store, put), []

    def lose(asked: Asked) -> Reply | None:
        if asked.method == "POST" and "uploadId" in asked.query and not lost:
            lost.append(server.buckets[BUCKET].uploads[asked.query["uploadId"]].parts.pop(1))
        return None

    server.before = lose
    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert (sent(server), len(lost)) == (["3", "1"], 1)


def test_an_upload_that_vanished_begins_anew(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """Before or in the middle of it, as the bucket's lifecycle rules have it."""
    key = begin(server, store, put)
    bucket = server.buckets[BUCKET]
    gone = []

    def forget(asked: Asked) -> Reply | None:
        if asked.query.get("partNumber") == "3" and not gone:
            gone.append(bucket.uploads[asked.query["uploadId"]])
            bucket.abort(gone[0])
        return None

    server.before = forget
    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert (sent(server)[0], sorted(sent(server)[1:])) == ("3", ["1", "2", "3"])


def test_a_server_that_always_forgets_is_left_for_later(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """No endless loop: the capture waits."""

    def forget(asked: Asked) -> Reply | None:
        for upload in list(server.buckets[BUCKET].uploads.values()) if "partNumber" in asked.query else []:
            server.buckets[BUCKET].abort(upload)
        return None

    server.before = forget
    with pytest.raises(StoreUnreachable):
        put(store, some_key("core"), BIG)

    assert sum(one.method == "POST" and "uploads" in one.query for one in server.asked) == 3


def test_uploads_of_others_are_left_alone(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """Neither those of other keys nor an empty one of the same key is aborted or taken over."""
    bucket, key = server.buckets[BUCKET], some_key("core")
    others = [bucket.begin(f"pre/{name}", {}) for name in (key, f"{key}-other", "else")]

    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert set(bucket.uploads) == {one.upload_id for one in others}


def test_a_lost_answer_to_the_last_request_is_harmless(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """The object was made and nobody heard of it: the next attempt finds it."""
    key = some_key("core")
    server.after = lambda asked, reply: (
        Reply(hang_up=True) if asked.method == "POST" and "uploadId" in asked.query else reply
    )
    with pytest.raises(StoreUnreachable):
        put(store, key, BIG)
    server.after = lambda asked, reply: reply
    server.asked.clear()

    put(store, key, BIG)

    assert asked_for(server) == ["HEAD"]
    assert content_of(store, key) == BIG


def test_two_uploaders_of_a_large_object_agree(server: OssServer, store: OssStore, tmp_path: Path) -> None:
    """Both succeed, and no upload stays behind."""
    source, key = tmp_path / "same", some_key("core")
    source.write_bytes(BIG)
    failures: list[Exception] = []
    together = threading.Barrier(2)

    def write() -> None:
        together.wait(TIMEOUT_S)
        try:
            sha256 = hashlib.sha256(BIG).hexdigest()
            OssStore(store.url).put(key, source, size_bytes=len(BIG), sha256=sha256, content_type="x/y")
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert failures == []
    assert content_of(store, key) == BIG
    assert server.buckets[BUCKET].uploads == {}


def test_without_the_right_to_list_uploads_all_is_sent(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """Resuming needs a right that storing does not."""
    key = begin(server, store, put)
    lacks = frozenset({"oss:ListMultipartUploads", "oss:ListObjects"})
    server.access_keys["a-key"] = replace(server.access_keys["a-key"], lacks=lacks)

    put(store, key, BIG)

    assert sorted(sent(server)) == ["1", "2", "3"]


# --- what is verified -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"small", BIG], ids=["small", "big"])
def test_a_store_that_keeps_other_bytes_is_noticed(
    server: OssServer, store: OssStore, put: Callable[..., str], content: bytes
) -> None:
    """Its checksum is not that of what was sent: the object is removed, and sent again later."""
    wrong = {"x-oss-hash-crc64ecma": "1"}

    def lie(asked: Asked, reply: Reply) -> Reply:
        last = (asked.method == "POST" and "uploadId" in asked.query) or (asked.method == "PUT" and not asked.query)
        return replace(reply, headers=reply.headers | wrong) if last else reply

    server.after, key = lie, some_key()
    with pytest.raises(StoreUnreachable, match="other bytes"):
        put(store, key, content)
    server.after = lambda asked, reply: reply

    assert store.stat(key) is None
    put(store, key, content)


@pytest.mark.parametrize("content", [b"small", BIG], ids=["small", "big"])
def test_a_damaged_object_of_ours_is_replaced(
    server: OssServer, store: OssStore, put: Callable[..., str], content: bytes
) -> None:
    """Its name, size and sha256 are right, its bytes are not: an uploader was killed before it could remove it."""
    key, bucket = put(store, some_key(), content), server.buckets[BUCKET]
    damaged = bucket.receive(f"pre/{key}", [bytes(len(content))], "")
    damaged.headers = bucket.get(f"pre/{key}").headers
    bucket.publish(damaged, False)

    with pytest.raises(StoreUnreachable, match="other bytes"):
        put(store, key, content)
    put(store, key, content)

    assert content_of(store, key) == content


def test_a_part_that_was_damaged_is_sent_again(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """Nothing is made of it; the next attempt sends that part alone."""
    key, bucket = some_key("core"), server.buckets[BUCKET]

    def damage(asked: Asked, reply: Reply) -> Reply:
        if asked.query.get("partNumber") != "3":
            return reply
        upload = bucket.uploads[asked.query["uploadId"]]
        bucket.add_part(upload, 3, bucket.receive(upload.key, [bytes(upload.parts[3].size)], ""))
        return replace(reply, headers={"ETag": '"X"', "x-oss-hash-crc64ecma": str(upload.parts[3].crc64)})

    server.after = damage
    with pytest.raises(StoreUnreachable, match="other bytes"):
        put(store, key, BIG)
    server.after = lambda asked, reply: reply
    server.asked.clear()
    assert store.stat(key) is None

    put(store, key, BIG)

    assert content_of(store, key) == BIG
    assert sent(server) == ["3"]


def test_a_body_that_breaks_off_or_changes_is_noticed(
    server: OssServer, store: OssStore, put: Callable[..., str]
) -> None:
    """What is read is compared with its length and with the server's checksum."""
    key = put(store, some_key(), b"whole")

    for lie in ({"Content-Length": "9"}, {"x-oss-hash-crc64ecma": "1"}):
        server.after = lambda asked, reply, lie=lie: replace(  # type: ignore[misc]
            reply, headers=reply.headers | lie, hang_up=False
        )
        server.timeout = 1
        with pytest.raises(StoreUnreachable), _ending(server):
            content_of(store, key)


@contextmanager
def _ending(server: OssServer) -> Iterator[None]:
    """Connections end after each answer, so that a length that is too large is noticed at once."""
    after = server.after
    server.after = lambda asked, reply: replace(
        after(asked, reply), headers={"Connection": "close", **after(asked, reply).headers}
    )
    yield


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OSS_ACCESS_KEY_SECRET": "wrong"}, "does not accept the signature"),
        ({"OSS_ACCESS_KEY_ID": "wrong"}, "does not know the access key"),
        ({"OSS_SESSION_TOKEN": "wrong"}, "does not accept the session token"),
        ({"OSS_ACCESS_KEY_ID": ""}, "no credentials"),
        ({"OSS_ACCESS_KEY_SECRET": ""}, "no credentials"),
        ({"OSS_ACCESS_KEY_ID": "", "OSS_ACCESS_KEY_SECRET": ""}, "no credentials"),
    ],
)
@pytest.mark.parametrize("auth", ["v1", "v4"])
def test_wrong_keys_are_refused(
    server: OssServer,
    put: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    said: str,
    auth: str,
) -> None:
    """With what to do, for each use; and the right ones, once set, are read without a restart."""
    store = OssStore(url_of(server, auth=auth))
    right = {name: os.environ.get(name, "") for name in environ}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    for use in (lambda: put(store, some_key(), b"x"), lambda: put(store, some_key(), BIG), store.check):
        with pytest.raises(StoreRefused, match=said) as caught:
            use()
        assert "OSS_ACCESS_KEY_ID" in caught.value.help_text
        assert "secret" not in f"{caught.value}"
    for name, value in right.items():
        monkeypatch.setenv(name, value)
    put(store, some_key(), b"x")


def test_session_tokens(
    server: OssServer, store: OssStore, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary key works until it has expired; then its refusal says so."""
    server.access_keys["sts"] = Key("s", "token")
    for name, value in {"ACCESS_KEY_ID": "sts", "ACCESS_KEY_SECRET": "s", "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"OSS_{name}", value)
    for auth in ("v1", "v4"):
        one = OssStore(url_of(server, auth=auth))
        one.check()
        key = put(one, some_key(), b"x")
        request = one.sign_get(key, content_type="text/plain", valid_s=60)
        assert requests.get(request.url, timeout=TIMEOUT_S).content == b"x"
        assert request.url not in repr(request)

    server.access_keys["sts"] = Key("s", "token", expires=server.now() - 1)
    with pytest.raises(StoreRefused, match="session token has expired") as caught:
        put(store, some_key(), b"x")
    assert "OSS_SESSION_TOKEN" in caught.value.help_text


def test_credentials_of_the_instance_are_renewed(
    server: OssServer, store: OssStore, put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment has none, they come from the credentials URI, again before they end."""
    given = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = f"token-{len(given)}"
            given.append(token)
            server.access_keys["role"] = Key("s", token)
            said = {"Code": "Success", "AccessKeyId": "role", "AccessKeySecret": "s", "SecurityToken": token}
            said |= {"LastUpdated": "2020-01-01T00:00:00Z", "Expiration": "2020-01-01T01:00:00Z"}
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            return

    for name in ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"):
        monkeypatch.delenv(name)
    metadata = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=metadata.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", f"http://127.0.0.1:{metadata.server_port}/")
        put(store, some_key(), b"x")
        put(store, some_key(), b"x")
    finally:
        metadata.shutdown()
        thread.join()
        metadata.server_close()

    assert len(given) >= 2
    with pytest.raises(StoreUnreachable, match="could not be fetched"):
        OssStore(store.url).check()


@pytest.mark.parametrize(
    ("lacks", "use"),
    [
        ("PutObject", lambda store, put: put(store, some_key(), b"x")),
        ("PutObject", lambda store, put: put(store, some_key(), BIG)),
        ("PutObject", lambda store, put: store.check()),
        ("GetObject", lambda store, put: store.open(some_key())),
        ("GetObject", lambda store, put: store.stat(some_key())),
        ("ListObjects", lambda store, put: list(store.objects("v1/"))),
        ("ListObjects", lambda store, put: store.folders("v1/")),
        ("DeleteObject", lambda store, put: store.delete(some_key())),
    ],
)
def test_a_right_that_is_missing_is_named(
    server: OssServer, store: OssStore, put: Callable[..., str], lacks: str, use: Callable[..., object]
) -> None:
    """Storing needs no right to list, nor listing one to store; the refusal says which to grant, and on what."""
    server.access_keys["a-key"] = Key("a-secret", lacks=frozenset({f"oss:{lacks}"}))

    with pytest.raises(StoreRefused, match=f"does not allow oss:{lacks}") as caught:
        use(store, put)

    assert f"acs:oss:*:*:{BUCKET}/pre/*" in caught.value.help_text


def test_storing_needs_only_the_right_to_store(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """A small object is stored by a key that may do nothing else."""
    rights = ("GetObject", "ListObjects", "DeleteObject", "ListMultipartUploads", "ListParts", "AbortMultipartUpload")
    server.access_keys["a-key"] = Key("a-secret", lacks=frozenset(f"oss:{right}" for right in rights))

    put(store, some_key(), b"x")
    store.check()


def test_a_missing_bucket_is_named(server: OssServer, put: Callable[..., str]) -> None:
    """A setting to correct, not a bad capture."""
    store = OssStore(url_of(server).replace(BUCKET, "nobodys"))

    for use in (lambda: put(store, some_key(), b"x"), store.check, lambda: store.stat(some_key())):
        with pytest.raises(StoreRefused, match="no bucket nobodys"):
            use()


def test_another_region_is_named(server: OssServer, put: Callable[..., str]) -> None:
    """The bucket is elsewhere: the refusal says where; or the signature is for another region."""
    server.elsewhere[BUCKET] = "oss-cn-shanghai.aliyuncs.com"
    for content in (b"x", BIG):
        with pytest.raises(StoreRefused, match=r"but at oss-cn-shanghai\.aliyuncs\.com") as caught:
            put(OssStore(url_of(server)), some_key(), content)
        assert "OSS_ENDPOINT=https://oss-cn-shanghai.aliyuncs.com" in caught.value.help_text

    with pytest.raises(StoreRefused, match="for the region cn-beijing") as caught:
        put(OssStore(url_of(server).replace(REGION, "cn-beijing")), some_key(), b"x")
    assert "OSS_REGION" in caught.value.help_text


@pytest.mark.parametrize("off", [3600, -3600])
@pytest.mark.parametrize("auth", ["v1", "v4"])
@pytest.mark.parametrize("size", [1, len(BIG)])
def test_a_clock_that_is_off_is_corrected(
    server: OssServer, put: Callable[..., str], off: int, auth: str, size: int
) -> None:
    """Signatures are refused by the time, and made by the store's date from then on; every use works."""
    now = server.now
    server.now = lambda: now() + off
    store = OssStore(url_of(server, auth=auth))

    key = put(store, some_key("core"), BIG[:size])

    assert content_of(store, key) == BIG[:size]
    assert abs(store.clock_ahead_s + off) < 60
    store.check()
    fresh = OssStore(url_of(server, auth=auth))
    assert [one.key for one in fresh.objects("v1/")] == [key]
    assert abs(fresh.clock_ahead_s + off) < 60
    server.now = now
    assert store.stat(key) is not None
    assert store.clock_ahead_s == 0


@pytest.mark.parametrize(("off", "said"), [(3600, "behind"), (-3600, "ahead of")])
@pytest.mark.parametrize("auth", ["v1", "v4"])
def test_a_clock_that_cannot_be_corrected_is_named(
    server: OssServer, put: Callable[..., str], off: int, said: str, auth: str
) -> None:
    """Where the store refuses the corrected time too: by how much we are off, and in which direction."""
    now = server.now
    server.now = lambda: now() + off
    refused = {"RequestTimeTooSkewed": "The difference between the request time and the server's time is too large."}

    def refuse(asked: Asked) -> Reply | None:
        ((code, message),) = refused.items()
        raise Problem(403, code, message)

    server.before = refuse
    with pytest.raises(StoreRefused, match=rf"\d+ s {said}") as caught:
        put(OssStore(url_of(server, auth=auth)), some_key(), b"x")

    by_s = re.search(rf"(\d+) s {said}", str(caught.value))
    assert by_s is not None and abs(int(by_s[1]) - 3600) < 60  # the answer took its time, too
    assert "Set the clock" in caught.value.help_text


def test_an_object_under_retention_stays(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """What the bucket's policy holds cannot be removed, and that is said."""
    key = put(store, some_key(), b"x")
    body = b"<Error><Code>FileImmutable</Code></Error>"
    server.before = lambda asked: Reply(409, body) if asked.method == "DELETE" else None

    with pytest.raises(StoreError, match="retention policy"):
        store.delete(key)


# --- answers that are none ------------------------------------------------------------------------------------------


PAGE = b"<html><body>Welcome</body></html>"


@pytest.mark.parametrize("content", [b"x", BIG], ids=["small", "big"])
@pytest.mark.parametrize("headers", [{}, {"x-oss-request-id": "1"}], ids=["plain", "with an id"])
def test_a_page_with_status_200_is_no_success(
    server: OssServer, store: OssStore, put: Callable[..., str], content: bytes, headers: dict[str, str]
) -> None:
    """A login wall stores nothing, and answers no question."""
    server.before = lambda asked: Reply(200, PAGE, {"Content-Type": "text/html", **headers}, plain=True)

    for use in (lambda: put(store, some_key(), content), store.check, lambda: list(store.objects("v1/"))):
        with pytest.raises(StoreError):
            use()
    if not headers:
        with pytest.raises(StoreUnreachable, match="is not OSS"):
            store.open(some_key())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 418])
def test_a_refusal_of_somebody_else_is_no_verdict(
    server: OssServer, store: OssStore, put: Callable[..., str], status: int
) -> None:
    """What did not come from OSS condemns no capture and declares no object missing."""
    server.before = lambda asked: Reply(status, b"\xff<html>", plain=True)

    for use in (lambda: put(store, some_key(), b"x"), lambda: store.stat(some_key()), lambda: store.delete(some_key())):
        with pytest.raises(StoreUnreachable, match="is not OSS"):
            use()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [PAGE, b"<Error><Code>InternalError</Code></Error>", b""], ids=["html", "xml", "empty"]
)
@pytest.mark.parametrize("content", [b"x", BIG], ids=["small", "big"])
def test_trouble_of_the_store_passes(
    server: OssServer, store: OssStore, put: Callable[..., str], status: int, body: bytes, content: bytes
) -> None:
    """It is tried again later, and not before the store wants it; then it works."""
    key = some_key()
    server.before = lambda asked: Reply(status, body, {"Retry-After": "7"})
    with pytest.raises(StoreUnreachable) as caught:
        put(store, key, content)
    assert (caught.value.retry, caught.value.retry_after_s) == (True, 7.0)
    server.before = lambda asked: None

    put(store, key, content)
    assert content_of(store, key) == content


def test_an_unknown_refusal_condemns_nothing(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """A code that nobody knows is an error of this time; its text is printed without control characters."""
    body = "<Error><Code>NewCode</Code><Message>It is\x85 so.</Message></Error>".encode()
    server.before = lambda asked: Reply(409, body)

    with pytest.raises(StoreError, match=r"NewCode.*: It is so") as caught:
        put(store, some_key(), b"x")

    assert type(caught.value) is StoreError


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    server: OssServer, store: OssStore, put: Callable[..., str], tmp_path: Path, status: int
) -> None:
    """Credentials go to the endpoint that was set, and to no other; the refusal says where it pointed."""
    with running(tmp_path / "other", {}, region=REGION) as other:
        server.before = lambda asked: Reply(status, b"", {"Location": f"{other.endpoint}/x"}, plain=True)
        for use in (lambda: put(store, some_key(), b"x"), lambda: store.open(some_key()), store.check):
            with pytest.raises(StoreRefused, match=f"redirects to {other.endpoint}/x"):
                use()
        assert other.asked == []


def test_the_sum_is_that_of_oss(store: OssStore) -> None:
    """CRC-64/XZ, as its catalogue has it (reveng.sourceforge.io/crc-catalogue), and each sum begins anew."""
    for _ in range(2):
        crc64 = store._client.crc64()
        crc64(b"12345")
        crc64(b"6789")
        assert crc64.crc == 0x995DC9BBDF1939FA


def test_no_password_of_netrc_is_sent(
    server: OssServer, store: OssStore, put: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """~/.netrc may have one for the host; OSS is not asked with it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password netrc-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    put(store, some_key(), b"x")

    assert all(one.headers["authorization"].startswith("OSS4-HMAC-SHA256 ") for one in server.asked)


def test_nobody_there(put: Callable[..., str], server: OssServer) -> None:
    """No server, no name, no TLS: tried again later, with the reason."""
    url = url_of(server)
    tls = url.replace("http://", "https://")
    for one, said in (
        (url.replace(server.endpoint, "http://127.0.0.1:9"), "Connection refused"),
        (url.replace(server.endpoint, "http://nobody.invalid"), "does not answer"),
        (tls, "TLS"),
    ):
        with pytest.raises(StoreUnreachable, match=said):
            put(OssStore(one), some_key(), b"x")


def test_a_broken_off_upload_leaves_nothing(server: OssServer, store: OssStore, put: Callable[..., str]) -> None:
    """A reset before or after the object was stored: never half of one, and the next attempt succeeds."""
    key = some_key()
    server.before = lambda asked: Reply(hang_up=True)
    with pytest.raises(StoreUnreachable):
        put(store, key, b"x")
    server.before = lambda asked: None
    assert store.stat(key) is None
    server.after = lambda asked, reply: Reply(hang_up=True) if asked.method == "PUT" else reply
    with pytest.raises(StoreUnreachable):
        put(store, key, b"x")
    server.after = lambda asked, reply: reply

    put(store, key, b"x")
    assert content_of(store, key) == b"x"


def test_a_listing_that_never_ends_is_given_up(server: OssServer, store: OssStore) -> None:
    """A server that repeats its page does not keep a reader forever."""
    body = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"</ListBucketResult>"
    )
    server.before = lambda asked: Reply(200, body)

    with pytest.raises(StoreError, match="again and again"):
        list(store.objects("v1/"))


# --- secrets and memory ---------------------------------------------------------------------------------------------


def test_credentials_stay_out_of_messages_and_logs(
    server: OssServer,
    put: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where a program logs everything."""
    caplog.set_level("DEBUG")
    server.access_keys["sts"] = Key("sts-s3cret", "sts-t0ken")
    for name, value in {
        "ACCESS_KEY_ID": "sts",
        "ACCESS_KEY_SECRET": "sts-s3cret",
        "SESSION_TOKEN": "sts-t0ken",
    }.items():
        monkeypatch.setenv(f"OSS_{name}", value)
    store = OssStore(url_of(server))
    put(store, some_key(), b"x")
    server.access_keys["sts"] = Key("another", "sts-t0ken")
    with pytest.raises(StoreRefused) as caught:
        put(store, some_key(), b"x")

    said = caplog.text + str(caught.value) + caught.value.help_text + store.url + repr(vars(store))
    assert "s3cret" not in said
    assert "t0ken" not in said


MEASURED = """
import resource, sys
from pathlib import Path
from diag.upload.stores import open_store
url, key, source, size, sha256 = sys.argv[1:]
store = open_store(url)
store.put("v1/small", Path("/dev/null"), size_bytes=0, sha256=EMPTY, content_type="x/y")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put(key, Path(source), size_bytes=int(size), sha256=sha256, content_type="x/y")
with store.open(key) as body:
    while body.read(1 << 20):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_object(server: OssServer, store: OssStore, tmp_path: Path) -> None:
    """A hundred megabytes pass through a few."""
    source, size = tmp_path / "large", 100 * 1024 * 1024
    with source.open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(1024) * 1024)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    script = MEASURED.replace("EMPTY", repr(hashlib.sha256().hexdigest()))
    command = [sys.executable, "-c", script, store.url, some_key("core"), str(source), str(size), sha256]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)

    assert int(answer.stdout) < 12 * 1024
