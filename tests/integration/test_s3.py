"""What only an S3 store can do, or do wrong: parts, rights, regions, and servers that are none."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S
from s3_server import REGION, S3, Asked, Keys, Reply, between, error
from spooled import put_capture

from diag.errors import (
    BadSetting,
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
    ToolMissing,
)
from diag.model import now
from diag.spool import Spool
from diag.upload import keys
from diag.upload.s3 import S3Store
from diag.upload.s3_parts import PART, part_size
from diag.upload.store import StoredObject
from diag.upload.uploader import drain
from diag.upload.window import Window

MIB = 1024 * 1024
LARGE = 3 * PART + 12345  # four parts
KEY = "v1/default/2026/01/02/03/large/cpu.pprof"
Rule = Callable[[Asked, Callable[[], Reply]], Reply | None]


@pytest.fixture
def bucket(s3: S3) -> str:
    """A bucket of this test's own."""
    return s3.bucket(f"b-{os.urandom(8).hex()}")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that goes in parts."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


def send(store: S3Store, source: Path, key: str = KEY, **says: Any) -> None:
    """Put a file as what it is."""
    content = source.read_bytes()
    announced = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **says}
    store.put(key, source, content_type="application/octet-stream", **announced)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file that goes in one piece."""
    path = tmp_path / "small"
    path.write_bytes(b"small")
    return path


def uploads(s3: S3, bucket: str) -> list[dict[str, Any]]:
    """The unfinished uploads of a bucket."""
    return s3.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])  # type: ignore[no-any-return]


def same(store: S3Store, source: Path, key: str = KEY) -> bool:
    """Whether the store has this file's bytes."""
    with store.open(key) as found:
        return found.read() == source.read_bytes()


# --- the address ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://AKIA:secret@bucket/x",
        "s3://AKIAsecret@bucket",
        "s3://bucket/x?endpoint=https://user:secret@host",
        "s3://bucket/x?endpoint=ftp://host",
        "s3://bucket/x?endpoint=https://host/secret",
        "s3://bucket/x?endpoint=https://host:99999",
        "s3://bucket/x?endpoint=https://[secret",
        "s3://bucket/x?secret_key=secret",
        "s3://bucket/x?region",
        "s3://bucket/x?region=a/b",
        "s3://bucket/x?region=a&region=b",
        "s3://bucket/x?addressing=sideways",
        "s3://bucket/x#secret",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a%00b",
        "s3://bucket/%ff",
        "s3://buc ket",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    """It is refused before anything is connected, and what could be a secret is not repeated."""
    with pytest.raises(BadSetting) as caught:
        S3Store(url)

    assert "secret" not in f"{caught.value} {caught.value.help_text}"


@pytest.mark.parametrize(
    ("query", "environ"),
    [
        ("endpoint=http://a..b", {}),
        ("", {"AWS_ENDPOINT_URL": "user:secret"}),
        ("", {"AWS_REGION": "no secret region"}),
    ],
)
def test_what_only_the_sdk_knows_to_be_wrong_is_a_setting(
    query: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host or a region that can be none is no defect of ours and no matter of credentials."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BadSetting) as caught:
        S3Store(f"s3://bucket?{query}").check()

    assert "secret" not in str(caught.value)
    assert "AWS_ENDPOINT_URL" in caught.value.help_text


def test_without_the_sdk_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 comes with an extra; who lacks it is told which."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ToolMissing) as caught:
        S3Store("s3://bucket")

    assert caught.value.help_text == "pip install 'diag[s3]'"


@pytest.mark.parametrize("prefix", ["", "a", "a/b", "pré fix/ü%+&=~'?#", "a b/!*()", "-"])
def test_odd_characters_in_the_prefix_are_kept(s3: S3, bucket: str, small: Path, prefix: str) -> None:
    """What is in the bucket stands under the prefix as it was meant, and is found again."""
    store = S3Store(s3.store_url(bucket, prefix))
    send(store, small)

    listed = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [one["Key"] for one in listed] == [f"{prefix}/{KEY}" if prefix else KEY]
    assert list(store.objects("v1/")) == [StoredObject(KEY, 5)]
    assert store.folders("v1/default/") == ["2026/"]
    assert same(store, small)


def test_endpoint_and_region_may_come_from_the_environment(
    s3: S3, bucket: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that every SDK reads hold for this one too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_REGION", REGION)

    with between(s3.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        send(S3Store(f"s3://{bucket}"), small)

    assert f"/{REGION}/s3/aws4_request" in proxy.asked[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("addressing", "address"), [("path", "http://s3.example/bucket/"), ("virtual", "http://bucket.s3.example/")]
)
def test_both_ways_to_address_a_bucket(addressing: str, address: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path style and virtual-hosted style, as the setting says; through a proxy where one is set."""
    with between(s3.url, lambda asked, forward: error(503, "SlowDown")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(StoreUnreachable):
            S3Store(f"s3://bucket?endpoint=http://s3.example&addressing={addressing}").stat(KEY)

    assert [one.path for one in proxy.asked] == [address + KEY]


# --- parts ----------------------------------------------------------------------------------------------------------


def test_a_large_file_goes_in_parts_and_only_once(s3: S3, bucket: str, large: Path) -> None:
    """It arrives whole, leaves nothing unfinished, and a repeat sends no byte of it."""
    with between(s3.url) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(store, large)
        assert sorted(proxy.parts()) == [1, 2, 3, 4]
        asked = len(proxy.asked)
        send(store, large)

    assert [one.method for one in proxy.asked[asked:]] == ["HEAD"]
    assert same(S3Store(s3.store_url(bucket)), large)
    assert uploads(s3, bucket) == []
    head = s3.client().head_object(Bucket=bucket, Key=KEY)
    assert head["Metadata"] == {"sha256": hashlib.sha256(large.read_bytes()).hexdigest()}


UPLOADER = """
import sys
from diag.spool import Spool
from diag.upload.stores import open_store
from diag.upload.uploader import drain
from pathlib import Path
print(drain(Spool(Path(sys.argv[1]), 200 << 20, 0), open_store(sys.argv[2]), "default", deadline=None), flush=True)
"""


def test_a_killed_uploader_is_resumed_by_the_next(s3: S3, bucket: str, tmp_path: Path) -> None:
    """Killed while a part is on its way, the next process asks the server, and sends only what is missing."""
    spool = Spool(tmp_path / "spool", quota_bytes=200 * MIB, floor_bytes=0)
    capture = put_capture(spool, content=os.urandom(LARGE))
    others, reached, let_go = threading.Semaphore(0), threading.Event(), threading.Event()
    coming: list[int] = []

    def hold(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if not asked.part or let_go.is_set():
            return None
        coming.append(asked.part)
        if [asked.part] != coming[3:4]:  # the last to come is held: any other would have to wait for those behind it
            reply = forward()
            others.release()
            return reply
        assert all(others.acquire(timeout=TIMEOUT_S) for _ in range(3))  # the other parts are there by now
        reached.set()
        let_go.wait(TIMEOUT_S)
        return Reply(503, hang_up=True)

    with between(s3.url, hold) as proxy:
        url = s3.store_url(bucket, endpoint=proxy.url)
        with subprocess.Popen([sys.executable, "-c", UPLOADER, str(tmp_path / "spool"), url]) as child:
            assert reached.wait(TIMEOUT_S)
            child.kill()
            assert child.wait(TIMEOUT_S) == -signal.SIGKILL
        let_go.set()
        assert sorted(proxy.parts()) == [1, 2, 3, 4]

        assert drain(spool, S3Store(url), "default", deadline=None).stored == 1

    assert sorted(proxy.parts()) == sorted([1, 2, 3, 4, coming[3]])
    assert uploads(s3, bucket) == []
    key = keys.key("default", capture.capture_id, "report.json")
    with S3Store(s3.store_url(bucket)).open(key) as found:
        assert hashlib.sha256(found.read()).hexdigest() == capture.artifacts[0].sha256


def _interrupted(s3: S3, bucket: str, large: Path) -> None:
    """Leave an upload without its third part."""
    with between(s3.url, lambda asked, forward: error(503, "SlowDown") if asked.part == 3 else None) as proxy:
        with pytest.raises(StoreUnreachable):
            send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large)
    assert len(uploads(s3, bucket)) == 1


def _parts_sent(s3: S3, bucket: str, large: Path, rule: Rule | None = None) -> list[int]:
    with between(s3.url, rule) as proxy:
        send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large)
    assert same(S3Store(s3.store_url(bucket)), large)
    return proxy.parts()


def test_an_upload_that_the_server_dropped_starts_anew(s3: S3, bucket: str, large: Path) -> None:
    """Parts that a lifecycle rule removed are sent again."""
    _interrupted(s3, bucket, large)
    one = uploads(s3, bucket)[0]
    s3.client().abort_multipart_upload(Bucket=bucket, Key=KEY, UploadId=one["UploadId"])

    assert sorted(_parts_sent(s3, bucket, large)) == [1, 2, 3, 4]


@pytest.mark.parametrize("lost", ["before a part", "before the end"])
def test_an_upload_that_is_dropped_in_between_starts_anew(s3: S3, bucket: str, large: Path, lost: str) -> None:
    """The upload vanishes under our hands: the same call goes on with a new one."""
    dropped: list[str] = []

    def drop(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        now_at = asked.part == 3 if lost == "before a part" else asked.method == "POST" and "uploadId=" in asked.path
        if now_at and not dropped:
            dropped.append(uploads(s3, bucket)[0]["UploadId"])
            s3.client().abort_multipart_upload(Bucket=bucket, Key=KEY, UploadId=dropped[0])
            return error(404, "NoSuchUpload")
        return None

    sent = _parts_sent(s3, bucket, large, drop)

    assert len(dropped) == 1
    assert sorted(sent[-4:]) == [1, 2, 3, 4]
    assert 3 in sent[:-4]


def test_a_server_that_always_loses_parts_is_given_up_for_now(s3: S3, bucket: str, large: Path) -> None:
    """Three attempts, then the capture waits."""

    def lose(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        return error(400, "InvalidPart") if asked.method == "POST" and "uploadId=" in asked.path else None

    with between(s3.url, lose) as proxy:
        with pytest.raises(StoreUnreachable, match="keeps losing"):
            send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large)

    # The second attempt found all parts there, the last did not trust that.
    assert sorted(proxy.parts()) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_an_upload_of_other_bytes_is_left_alone(s3: S3, bucket: str, large: Path) -> None:
    """Parts that are not this file's belong to somebody else: not used, not aborted."""
    client = s3.client()
    theirs = client.create_multipart_upload(Bucket=bucket, Key=KEY)["UploadId"]
    for number in (1, 2):
        client.upload_part(Bucket=bucket, Key=KEY, UploadId=theirs, PartNumber=number, Body=os.urandom(PART))
    beside = client.create_multipart_upload(Bucket=bucket, Key=KEY + "2")["UploadId"]

    assert sorted(_parts_sent(s3, bucket, large)) == [1, 2, 3, 4]
    assert {one["UploadId"] for one in uploads(s3, bucket)} == {theirs, beside}


def test_a_lost_answer_to_the_last_step_is_harmless(s3: S3, bucket: str, large: Path) -> None:
    """The object stands, nobody was told: the next attempt finds it."""

    def lose(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.method == "POST" and "uploadId=" in asked.path:
            assert forward().status == 200
            return Reply(200, hang_up=True)
        return None

    with between(s3.url, lose) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        with pytest.raises(StoreUnreachable):
            send(store, large)
        send(store, large)

    assert sorted(proxy.parts()) == [1, 2, 3, 4]
    assert same(S3Store(s3.store_url(bucket)), large)


def test_a_key_that_is_taken_meanwhile_is_not_replaced(s3: S3, bucket: str, large: Path) -> None:
    """Somebody else puts other bytes there while our parts travel: theirs stay, and ours are cleared up."""

    def take(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.part == 2:
            s3.client().put_object(Bucket=bucket, Key=KEY, Body=b"theirs")
        return None

    with between(s3.url, take) as proxy:
        with pytest.raises(StoreConflict):
            send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large)

    assert s3.client().get_object(Bucket=bucket, Key=KEY)["Body"].read() == b"theirs"
    assert uploads(s3, bucket) == []


def test_a_large_file_that_is_not_the_announced_one_is_not_stored(s3: S3, bucket: str, large: Path) -> None:
    """Its sum is known when the last part travels: no object is made of the parts, and they are given up."""
    with pytest.raises(StoreRejected, match="not the file"):
        send(S3Store(s3.store_url(bucket)), large, sha256="0" * 64)

    assert "Contents" not in s3.client().list_objects_v2(Bucket=bucket)
    assert uploads(s3, bucket) == []


def test_a_part_that_is_damaged_on_its_way_is_sent_again(s3: S3, bucket: str, large: Path) -> None:
    """Each part carries its sum, and a server that finds another refuses it."""
    with between(s3.url) as proxy:
        send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large)
    assert all("Content-MD5" in one.headers for one in proxy.asked if one.part)

    with between(s3.url, lambda asked, forward: error(400, "BadDigest") if asked.part else None) as proxy:
        with pytest.raises(StoreUnreachable, match="BadDigest"):
            send(S3Store(s3.store_url(bucket, endpoint=proxy.url)), large, key=KEY + "2")


def test_memory_does_not_grow_with_the_file(s3: S3, bucket: str, tmp_path: Path) -> None:
    """No part is ever in memory, whatever the file's size."""
    script = """
import hashlib, resource, sys
from pathlib import Path
from diag.upload.s3 import S3Store
store, source = S3Store(sys.argv[1]), Path(sys.argv[2])
def send(size):
    with source.open("wb") as file:
        file.truncate(size)
    found = hashlib.sha256()
    for _ in range(size // 1048576):
        found.update(bytes(1048576))
    store.put(f"v1/{size}", source, size_bytes=size, sha256=found.hexdigest(), content_type="a/b")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small = send(24 * 1048576)
print(send(120 * 1048576) - small)
"""
    command = [sys.executable, "-c", script, s3.store_url(bucket), str(tmp_path / "source")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)

    assert int(answer.stdout) < 4096  # KiB; half a part


@pytest.mark.parametrize("size", [0, 1, PART, PART * 10_000, PART * 10_000 + 1, 5 * 1024 * 1024 * MIB])
def test_no_file_has_too_many_parts(size: int) -> None:
    """S3 takes 10,000 parts of 5 MiB or more."""
    assert part_size(size) >= 5 * MIB
    assert -(-size // part_size(size)) <= 10_000


def test_a_window_is_a_file(tmp_path: Path) -> None:
    """A range can be read again and again, as retries and signatures do."""
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        window = Window(file, 3, 4)
        assert (len(window), window.read(3), window.read(), window.read()) == (4, b"345", b"6", b"")
        assert (window.seek(-1, os.SEEK_END), window.read(9), window.seek(0), window.read()) == (3, b"6", 0, b"3456")


# --- create-only and verified ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "ignored"])
def test_a_server_without_create_only_replaces_nothing(s3: S3, bucket: str, small: Path, how: str) -> None:
    """Where If-None-Match is refused or ignored, a look before each put stands in for it."""

    def old(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if "If-None-Match" not in asked.headers:
            return None
        if how == "refused":
            return error(501, "NotImplemented")
        s3.client().delete_object(Bucket=bucket, Key=KEY)  # the header is signed and has to stay: it finds nothing
        return forward()

    with between(s3.url, old) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(store, small)
        send(store, small)
        other = small.with_name("other")
        other.write_bytes(b"other")
        with pytest.raises(StoreConflict):
            send(store, other)

    assert same(S3Store(s3.store_url(bucket)), small)


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_a_lost_answer_is_harmless(s3: S3, bucket: str, tmp_path: Path, size: int) -> None:
    """The object stands, nobody was told: the next attempt finds it, on the same store and on a new one."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))

    def lose(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.method == "PUT" and len([one for one in proxy.asked if one.method == "PUT"]) == 1:
            assert forward().status == 200
            return Reply(200, hang_up=True)
        return None

    with between(s3.url, lose) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        with pytest.raises(StoreUnreachable):
            send(store, source)
        send(store, source)

    assert same(S3Store(s3.store_url(bucket)), source)


def test_bytes_that_the_server_damaged_do_not_stay(s3: S3, bucket: str, small: Path) -> None:
    """A wrong ETag is looked into: what is damaged goes, and the capture waits for another attempt."""

    def damage(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.method != "PUT" or KEY not in asked.path:
            return None
        s3.client().put_object(
            Bucket=bucket, Key=KEY, Body=b"smalk", Metadata={"sha256": asked.headers["x-amz-meta-sha256"]}
        )
        return Reply(200, headers=(("ETag", f'"{hashlib.md5(b"smalk").hexdigest()}"'),))

    store = S3Store(s3.store_url(bucket))
    send(store, small, key="v1/first")  # so that it is known to create only
    with between(s3.url, damage) as proxy:
        broken = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(broken, small, key="v1/second")
        with pytest.raises(StoreUnreachable, match="other bytes"):
            send(broken, small)

    assert store.stat(KEY) is None
    send(store, small)
    assert same(store, small)


def test_an_etag_that_is_no_sum_is_no_failure(s3: S3, bucket: str, small: Path) -> None:
    """Encrypted buckets have ETags of their own: then size and stored sha256 decide."""

    def opaque(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        reply = forward()
        kept = tuple((name, value) for name, value in reply.headers if name.lower() != "etag")
        key = ("x-amz-server-side-encryption", "aws:kms")
        return Reply(reply.status, reply.body, (*kept, ("ETag", f'"{"0" * 32}"'), key))

    with between(s3.url, opaque) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(store, small)
        send(store, small)

    assert "GET" not in {one.method for one in proxy.asked}


def test_an_object_without_our_mark_is_compared_by_its_bytes(s3: S3, bucket: str, small: Path) -> None:
    """What another tool copied there is the same where its bytes are."""
    s3.client().put_object(Bucket=bucket, Key=KEY, Body=b"small")
    s3.client().put_object(Bucket=bucket, Key=KEY + "2", Body=b"smalk")
    store = S3Store(s3.store_url(bucket))

    send(store, small)
    with pytest.raises(StoreConflict):
        send(store, small, KEY + "2")


# --- listings -------------------------------------------------------------------------------------------------------


def test_listings_go_on_over_pages(s3: S3, bucket: str, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More objects and folders than a page holds come all, once, in order."""
    monkeypatch.setattr("diag.upload.s3.PAGE", 2)
    store = S3Store(s3.store_url(bucket, "p"))
    names = [f"v1/{letter}/{number}" for letter in "abcde" for number in (1, 2)]
    for name in names:
        send(store, small, name)
    s3.client().put_object(Bucket=bucket, Key="p/v1/a/.hidden/x", Body=b"not ours")

    assert [one.key for one in store.objects("v1/")] == names
    assert [one.key for one in store.objects("v1/", start_after="v1/b/2")] == names[4:]
    assert store.folders("v1/") == ["a/", "b/", "c/", "d/", "e/"]


def test_a_listing_that_never_ends_is_given_up(s3: S3) -> None:
    """A server that repeats its page does not keep a reader forever."""
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"<Contents><Key>v1/a</Key><Size>1</Size></Contents>"
        b"<CommonPrefixes><Prefix>v1/a/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    with between(s3.url, lambda asked, forward: Reply(200, page)) as proxy:
        store = S3Store(f"s3://bucket?endpoint={proxy.url}")
        with pytest.raises(StoreError, match="again and again"):
            list(store.objects("v1/"))
        with pytest.raises(StoreError, match="again and again"):
            store.folders("v1/")


# --- refusals -------------------------------------------------------------------------------------------------------


def every_use(store: S3Store, source: Path) -> list[tuple[str, Callable[[], object]]]:
    """All that can be asked of a store."""
    return [
        ("put", lambda: send(store, source)),
        ("open", lambda: store.open(KEY)),
        ("stat", lambda: store.stat(KEY)),
        ("objects", lambda: list(store.objects("v1/"))),
        ("folders", lambda: store.folders("v1/")),
        ("delete", lambda: store.delete(KEY)),
        ("check", store.check),
    ]


@pytest.mark.parametrize("wrong", ["secret", "access"])
def test_wrong_keys_are_refused_with_what_to_do(
    s3: S3, bucket: str, small: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, the sentence is the same, and the secret is not in it."""
    used = Keys(s3.keys.access, "wrongsecret") if wrong == "secret" else Keys("AKIAUNKNOWN", "wrongsecret")
    for name, value in used.environ().items():
        monkeypatch.setenv(name, value)

    for _, use in every_use(S3Store(s3.store_url(bucket)), small):
        with pytest.raises(StoreRefused, match="does not accept the credentials") as caught:
            use()
        assert "AWS_ACCESS_KEY_ID" in caught.value.help_text
        assert "wrongsecret" not in str(caught.value)


def test_no_credentials_are_said_to_be_missing(
    s3: S3, small: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the environment, no file, no role: the capture waits, and the sentence says what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    for _, use in every_use(S3Store(s3.store_url("bucket")), small):
        with pytest.raises(StoreRefused, match="no credentials"):
            use()


def test_keys_may_come_from_a_profile(
    s3: S3, bucket: str, small: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's files are read; a profile that there is not is named."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (home / ".aws").mkdir()
    content = f"[mine]\naws_access_key_id = {s3.keys.access}\naws_secret_access_key = {s3.keys.secret}\n"
    (home / ".aws" / "credentials").write_text(content)
    monkeypatch.setenv("AWS_PROFILE", "mine")
    send(S3Store(s3.store_url(bucket)), small)

    monkeypatch.setenv("AWS_PROFILE", "yours")
    with pytest.raises(StoreRefused, match="yours"):
        send(S3Store(s3.store_url(bucket)), small)


def test_who_may_only_deliver_delivers(
    s3: S3, bucket: str, small: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance needs no right to list: neither a small nor a large file asks for it."""
    used = s3.user(f"w{bucket}", '["s3:PutObject","s3:GetObject"]')
    for name, value in used.environ().items():
        monkeypatch.setenv(name, value)
    store = S3Store(s3.store_url(bucket))

    store.check()
    send(store, small, KEY + "2")
    send(store, large)
    assert store.stat(KEY) == StoredObject(KEY, LARGE)
    with pytest.raises(StoreRefused, match="list_objects_v2"):
        list(store.objects("v1/"))


def test_a_missing_key_may_be_forbidden_to_look_at(s3: S3, bucket: str, small: Path, large: Path) -> None:
    """Without the right to list, AWS answers 403 where nothing is: that keeps nobody from delivering."""

    def aws(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if "list-type" in asked.path or ("uploads" in asked.path and asked.method == "GET"):
            return error(403, "AccessDenied")
        reply = forward()
        return Reply(403) if asked.method == "HEAD" and reply.status == 404 else reply

    with between(s3.url, aws) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(store, small, KEY + "2")
        send(store, large)
        assert store.stat(KEY) == StoredObject(KEY, LARGE)


def test_who_may_only_list_is_told_so(s3: S3, bucket: str, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`diag doctor` finds it before a capture does, and leaves nothing in the bucket."""
    S3Store(s3.store_url(bucket)).check()
    assert uploads(s3, bucket) == []
    used = s3.user(f"l{bucket}", '["s3:ListBucket","s3:GetObject"]')
    for name, value in used.environ().items():
        monkeypatch.setenv(name, value)
    store = S3Store(s3.store_url(bucket))

    assert list(store.objects("v1/")) == []
    for use in (store.check, lambda: send(store, small)):
        with pytest.raises(StoreRefused, match="AccessDenied") as caught:
            use()
        assert "s3:PutObject" in caught.value.help_text


def test_a_missing_bucket_is_named(s3: S3, small: Path) -> None:
    """No bucket is a setting to correct, not a bad capture."""
    store = S3Store(s3.store_url("nobody-has-this"))

    for name, use in every_use(store, small):
        if name == "stat":
            continue  # an answer to HEAD says only that nothing is there
        with pytest.raises(StoreError, match="there is no bucket nobody-has-this") as caught:
            use()
        assert type(caught.value) is StoreError


def _each_answer(rule: Reply | Callable[[], Reply], s3: S3, small: Path) -> list[StoreError]:
    """What each use of a store raises where everything is answered like this, made for each answer where it is made."""
    found = []
    with between(s3.url, lambda asked, forward: rule if isinstance(rule, Reply) else rule()) as proxy:
        for _, use in every_use(S3Store(f"s3://bucket?endpoint={proxy.url}"), small):
            with pytest.raises(StoreError) as caught:
                use()
            found.append(caught.value)
    return found


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", ["xml", "html", "empty"])
def test_a_server_in_trouble_is_tried_again(s3: S3, small: Path, status: int, body: str) -> None:
    """Each of these passes; how long the server asks to be left alone is kept."""
    reply = {
        "xml": error(status, "SlowDown", Retry_After="17"),
        "html": Reply(status, b"<html><body>Bad &nbsp; Gateway", (("Retry-After", "17"),)),
        "empty": Reply(status, b"", (("Retry-After", "17"),)),
    }[body]

    for found in _each_answer(reply, s3, small):
        assert isinstance(found, StoreUnreachable)
        assert found.retry_after_s == 17


def test_retry_after_may_be_a_date(s3: S3, small: Path) -> None:
    """The other form of the header; a moment that is past means now."""
    for delta, least, most in ((90, 60, 90), (-90, 0, 0)):

        def busy(seconds: int = delta) -> Reply:
            moment = format_datetime(now() + timedelta(seconds=seconds), usegmt=True)
            return error(503, "SlowDown", Retry_After=moment)

        for found in _each_answer(busy, s3, small):
            assert isinstance(found, StoreUnreachable)
            assert found.retry_after_s is not None
            assert least <= found.retry_after_s <= most


@pytest.mark.parametrize(
    "body", [b"<html><body>Log in</body></html>", b"<!DOCTYPE html><p>Log in<br>", b"", b"{}"], ids=str
)
def test_a_page_with_status_200_is_no_success(s3: S3, small: Path, body: bytes) -> None:
    """A login wall that answers everything with 200 stores nothing."""
    page = Reply(200, body, (("Content-Type", "text/html"),))
    with between(s3.url, lambda asked, forward: page) as proxy:
        for name, use in every_use(S3Store(f"s3://bucket?endpoint={proxy.url}"), small):
            if name == "delete":
                continue  # its answer has nothing in it
            with pytest.raises(StoreError, match="is not an S3 store"):
                use()

    assert "PUT" not in {one.method for one in proxy.asked}


def test_a_page_that_looks_like_an_object_is_no_conflict(s3: S3, small: Path) -> None:
    """A page may have an ETag, and be as long as the capture's file: that is not the capture's fault."""
    for body in (b"<html>Log in</html>", b"page!"):
        page = Reply(200, body, (("Content-Type", "text/html"), ("ETag", '"65a-1"')))
        with between(s3.url, lambda asked, forward: page) as proxy:  # noqa: B023 - called before the next turn
            with pytest.raises(StoreError, match="is not an S3 store"):
                send(S3Store(f"s3://bucket?endpoint={proxy.url}"), small)


def test_a_page_in_the_middle_is_no_success_either(s3: S3, bucket: str, small: Path, large: Path) -> None:
    """A wall that goes up after the store was met keeps the capture waiting."""
    page, up = Reply(200, b"<html>Log in</html>"), threading.Event()

    with between(s3.url, lambda asked, forward: page if up.is_set() or asked.part == 2 else None) as proxy:
        store = S3Store(s3.store_url(bucket, endpoint=proxy.url))
        send(store, small, KEY + "2")
        with pytest.raises(StoreError, match="is not an S3 store"):
            send(store, large)
        up.set()
        with pytest.raises(StoreError, match="is not an S3 store"):
            send(store, small)

    assert S3Store(s3.store_url(bucket)).stat(KEY) is None


@pytest.mark.parametrize(
    "reply",
    [
        error(301, "PermanentRedirect", "<Endpoint>elsewhere</Endpoint>", x_amz_bucket_region="ap-south-1"),
        error(400, "AuthorizationHeaderMalformed", "<Region>ap-south-1</Region>"),
        error(400, "IllegalLocationConstraintException", x_amz_bucket_region="ap-south-1"),
    ],
    ids=["301", "malformed", "illegal"],
)
def test_a_bucket_in_another_region_is_named_with_it(s3: S3, small: Path, reply: Reply) -> None:
    """The sentence has the region to set."""
    for found in _each_answer(reply, s3, small):
        assert type(found) is StoreError
        assert "ap-south-1" in str(found)
        assert "region=ap-south-1" in found.help_text


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(s3: S3, small: Path, status: int) -> None:
    """Nothing goes to an address that was not set, least of all a signature."""
    with between(s3.url) as elsewhere:
        reply = error(status, "TemporaryRedirect", Location=f"{elsewhere.url}/bucket")
        for found in _each_answer(reply, s3, small):
            assert "redirects to" in str(found)

    assert elsewhere.asked == []


@pytest.mark.parametrize(("hours", "words"), [(1, "60 minutes behind"), (-2, "120 minutes ahead of")])
@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "AccessDenied"])
def test_a_wrong_clock_is_named(s3: S3, small: Path, hours: int, words: str, code: str) -> None:
    """Where the store refuses the corrected time too, the sentence says by how much we are off."""

    def skewed() -> Reply:
        return error(403, code, Date=format_datetime(now() + timedelta(hours=hours), usegmt=True))

    for found in _each_answer(skewed, s3, small):
        assert isinstance(found, StoreRefused)
        assert f"clock is {words} the store's" in str(found)
        assert "NTP" in found.help_text


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_off_is_corrected(s3: S3, bucket: str, small: Path, large: Path, hours: int) -> None:
    """Signatures of another time are refused, and made by the store's date from then on: whatever is asked works."""
    off = timedelta(hours=hours)

    def strict(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        signed = datetime.strptime(asked.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(now() + off - signed) < timedelta(minutes=15):
            return None
        return error(403, "RequestTimeTooSkewed", Date=format_datetime(now() + off, usegmt=True))

    with between(s3.url, strict) as proxy:
        url = s3.store_url(bucket, endpoint=proxy.url)
        for source, key in ((small, KEY), (large, KEY + "2")):
            store = S3Store(url)
            send(store, source, key)
            assert same(store, source, key)
            store.check()
            assert abs(store.clock_ahead_s + off.total_seconds()) < 60
        listing = S3Store(url)
        assert [one.key for one in listing.objects("v1/")] == [KEY, KEY + "2"]
        assert listing.stat(KEY) is not None


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ExpiredToken", StoreRefused),
        (403, "ExpiredToken", StoreRefused),
        (401, "Unauthorized", StoreRefused),
        (403, "QuotaExceeded", StoreRefused),
        (409, "OperationAborted", StoreUnreachable),
        (400, "RequestTimeout", StoreUnreachable),
        (400, "InvalidRequest", StoreError),
        (405, "MethodNotAllowed", StoreError),
    ],
)
def test_each_code_has_its_meaning(s3: S3, small: Path, status: int, code: str, kind: type[StoreError]) -> None:
    """The type says whether to try again, and control characters stay out of the sentence."""
    reply = error(status, code)
    reply.body = reply.body.replace(b"Just so.", b"Just\n so.")
    for found in _each_answer(reply, s3, small):
        assert type(found) is kind
        assert "Just so." in str(found)


def test_a_file_that_is_too_large_for_the_server_is_rejected(s3: S3, bucket: str, small: Path) -> None:
    """It would never be taken."""
    with between(s3.url, lambda asked, forward: error(400, "EntityTooLarge") if asked.method == "PUT" else None) as it:
        with pytest.raises(StoreRejected):
            send(S3Store(s3.store_url(bucket, endpoint=it.url)), small)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("http://127.0.0.1:9", "Connection refused"), ("http://nobody.invalid", "nobody.invalid|not known|resolution")],
)
def test_a_server_that_is_not_there_is_unreachable(s3: S3, small: Path, endpoint: str, words: str) -> None:
    """Nobody listens, or nobody has the name: try again later."""
    for _, use in every_use(S3Store(f"s3://bucket?endpoint={endpoint}"), small):
        with pytest.raises(StoreUnreachable, match=words):
            use()


def test_a_server_without_tls_is_unreachable(s3: S3, small: Path) -> None:
    """https spoken to something else fails as what it is, and nothing is sent in the clear."""
    with pytest.raises(StoreUnreachable, match="TLS") as caught:
        S3Store(f"s3://bucket?endpoint={s3.url.replace('http:', 'https:')}").check()

    assert "AWS_CA_BUNDLE" in caught.value.help_text


def test_a_proxy_that_is_not_there_is_named(s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at the endpoint alone would not find what is wrong."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")

    with pytest.raises(StoreUnreachable, match="proxy") as caught:
        S3Store(s3.store_url(bucket)).check()

    assert "HTTP_PROXY" in caught.value.help_text
    assert "secret" not in str(caught.value)


def test_an_answer_that_breaks_off_is_unreachable(s3: S3, bucket: str, small: Path) -> None:
    """Half an object is no object."""
    half = Reply(200, b"half", (("ETag", '"0"'), ("Content-Length", "1000")), cut=True)

    with between(s3.url, lambda asked, forward: half) as proxy:
        with S3Store(s3.store_url(bucket, endpoint=proxy.url)).open(KEY) as source:
            with pytest.raises(StoreUnreachable):
                source.read()


def test_a_large_object_is_streamed(s3: S3, bucket: str, large: Path) -> None:
    """It comes in pieces, can be left in the middle, and what is missing is said to be."""
    store = S3Store(s3.store_url(bucket))
    send(store, large)

    with store.open(KEY) as source:
        assert source.read(100) == large.read_bytes()[:100]
    with pytest.raises(NoSuchObject):
        store.open(KEY + "2")


def test_nothing_is_imported_before_it_is_used() -> None:
    """Who opens an S3 store pays for the SDK with the first question."""
    script = (
        "import sys; from diag.upload.stores import open_store; open_store('s3://bucket'); "
        "print('botocore' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
