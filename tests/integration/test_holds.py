"""Legal holds and retention periods of stores: a capture that one object of is held stays whole and listed."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from oss_server import OssServer
from oss_server.storage import Bucket, Worm
from s3_server import REGION, S3, Asked, Between, Reply, between, error
from spooled import MIB, make_capture
from viewers import Running, running

from diag.config import RetentionRule
from diag.errors import StoreHeld, StoreRefused
from diag.model import MANIFEST, Capture, now
from diag.spool import Spool
from diag.upload import catalogue, keys, notes, removal
from diag.upload.local import LocalStore
from diag.upload.oss import OssStore
from diag.upload.prune import Seen, carry_out, finish_begun, survey
from diag.upload.s3 import S3Store
from diag.upload.store import Store
from diag.upload.stores import open_store
from diag.upload.uploader import drain

RULES = (RetentionRule(keep_days=30),)
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10  # linux/fs.h


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool that captures are sent from."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


def stored(store: Store, spool: Spool) -> Capture:
    """A capture of forty days ago with one file."""
    capture = make_capture(moment=now() - timedelta(days=40))
    with spool.begin(capture) as draft:
        draft.add("a.json", "report", "json", "application/json", b"{}\n")
        capture = spool.load(draft.commit(capture))
    assert drain(spool, store, "default", deadline=None).trouble is None
    return capture


def prune(store: Store, *, dry_run: bool = False) -> list[Seen]:
    """What a run tells."""
    seen: list[Seen] = []
    at = now()
    found = survey(store, "default", RULES, at, lambda count: None)
    carry_out(store, "default", RULES, at, found, seen.append, dry_run=dry_run)
    return seen


def check_held(store: Store, capture: Capture, why: str) -> None:
    """A dry run and a real one tell why, and everything stays."""
    for dry_run in (True, False):
        (seen,) = (one for one in prune(store, dry_run=dry_run) if one.capture == capture)
        assert (seen.fate, why in seen.note) == ("held", True), seen.note
    prefix = keys.prefix("default", capture.capture_id)
    assert [one.key for one in store.objects(prefix)] == [f"{prefix}a.json", prefix + MANIFEST]
    assert catalogue.read(store, "default", capture.capture_id) == capture
    assert list(notes.listed(store, "default", keys.DELETED)) == []


def check_free(store: Store, capture: Capture) -> None:
    """It goes, whole."""
    assert [one.fate for one in prune(store) if one.capture == capture] == ["removed"]
    assert list(store.objects(keys.prefix("default", capture.capture_id))) == []


# --- S3 -------------------------------------------------------------------------------------------------------------


def _as_aws_says(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
    """The test server does not know this operation and would send the object itself."""
    if asked.method == "GET" and "retention" in asked.path.partition("?")[2]:
        return error(404, "NoSuchObjectLockConfiguration")
    return None


@pytest.fixture
def aws(s3: S3) -> Iterator[Between]:
    """The server as the store sees it."""
    with between(s3.url, _as_aws_says) as one:
        yield one


@pytest.fixture
def locked(s3: S3) -> str:
    """A bucket with Object Lock, which has versions."""
    name = f"b-{os.urandom(8).hex()}"
    where = {"LocationConstraint": REGION}
    s3.client().create_bucket(Bucket=name, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
    return name


def lock(s3: S3, bucket: str, capture: Capture, name: str, until: timedelta | None) -> None:
    """Keep an object for a time, or for as long as a legal hold is on."""
    key = keys.key("default", capture.capture_id, name)
    if until is None:
        s3.client().put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": "ON"})
        return
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": now() + until}
    s3.client().put_object_retention(Bucket=bucket, Key=key, Retention=retention)


@pytest.mark.parametrize("name", ["a.json", MANIFEST])
@pytest.mark.parametrize(("until", "why"), [(None, "legal hold"), (timedelta(days=3), "kept until")])
def test_s3_what_is_locked_stays(
    s3: S3, aws: Between, locked: str, spool: Spool, name: str, until: timedelta | None, why: str
) -> None:
    """A hold or a period on any object holds the capture; and no delete marker hides a part of it."""
    store = S3Store(s3.store_url(locked, endpoint=aws.url))
    held, free = stored(store, spool), stored(store, spool)
    lock(s3, locked, held, name, until)

    check_held(store, held, why)

    assert list(store.objects(keys.prefix("default", free.capture_id))) == []
    markers = s3.client().list_object_versions(Bucket=locked).get("DeleteMarkers", [])
    assert not [one["Key"] for one in markers if held.capture_id in one["Key"]]


def test_s3_a_lock_that_has_ended_holds_nothing(s3: S3, aws: Between, locked: str, spool: Spool) -> None:
    """When the period is over, or the hold is lifted, the capture goes."""
    store = S3Store(s3.store_url(locked, endpoint=aws.url))
    over, lifted = stored(store, spool), stored(store, spool)
    lock(s3, locked, over, "a.json", -timedelta(days=1))
    lock(s3, locked, lifted, "a.json", None)
    key = keys.key("default", lifted.capture_id, "a.json")
    s3.client().put_object_legal_hold(Bucket=locked, Key=key, LegalHold={"Status": "OFF"})

    check_free(store, over)
    assert list(store.objects(keys.prefix("default", lifted.capture_id))) == []


def test_s3_a_lock_that_may_not_be_seen_stops_the_run(s3: S3, locked: str, spool: Spool) -> None:
    """HEAD leaves a lock out for whom may not see it: then it is asked for, refused, and nothing goes."""

    def hide(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        if asked.method == "HEAD":
            reply = forward()
            reply.headers = tuple(one for one in reply.headers if not one[0].lower().startswith("x-amz-object-lock"))
            return reply
        refused = asked.method == "GET" and "retention" in asked.path.partition("?")[2]
        return error(403, "AccessDenied") if refused else None

    with between(s3.url, hide) as proxy:
        store = S3Store(s3.store_url(locked, endpoint=proxy.url))
        capture = stored(store, spool)
        lock(s3, locked, capture, "a.json", timedelta(days=3))

        with pytest.raises(StoreRefused) as caught:
            prune(store)

    assert "s3:GetObjectRetention" in caught.value.help_text
    assert catalogue.read(S3Store(s3.store_url(locked)), "default", capture.capture_id) == capture


def test_s3_a_bucket_that_may_not_be_asked_stops_the_run(s3: S3, spool: Spool) -> None:
    """Where it cannot be known whether there are locks, nothing goes."""
    bucket = s3.bucket(f"b-{os.urandom(8).hex()}")
    capture = stored(S3Store(s3.store_url(bucket)), spool)

    def refuse(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        return error(403, "AccessDenied") if "object-lock" in asked.path else None

    with between(s3.url, refuse) as proxy, pytest.raises(StoreRefused) as caught:
        prune(S3Store(s3.store_url(bucket, endpoint=proxy.url)))

    assert "s3:GetBucketObjectLockConfiguration" in caught.value.help_text
    assert catalogue.read(S3Store(s3.store_url(bucket)), "default", capture.capture_id) == capture


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed")])
def test_s3_a_server_that_knows_no_locks_has_none(s3: S3, spool: Spool, status: int, code: str) -> None:
    """Stores that have never heard of Object Lock are pruned as well."""

    def unknown(asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        return error(status, code) if "object-lock" in asked.path else None

    with between(s3.url, unknown) as proxy:
        store = S3Store(s3.store_url(s3.bucket(f"b-{os.urandom(8).hex()}"), endpoint=proxy.url))
        check_free(store, stored(store, spool))


# --- OSS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def oss(oss_url: str, oss_server: OssServer) -> tuple[OssStore, Bucket]:
    """A store, and its bucket behind it."""
    return OssStore(oss_url), oss_server.buckets[oss_url.removeprefix("oss://").partition("/")[0]]


@pytest.mark.parametrize("state", ["InProgress", "Locked"])
def test_oss_what_a_policy_keeps_stays(oss: tuple[OssStore, Bucket], spool: Spool, state: str) -> None:
    """A policy counts from when an object was stored, and protects before it is locked, too."""
    store, bucket = oss
    held = stored(store, spool)
    bucket.worm = Worm(7, state)

    check_held(store, held, "kept until")

    for one in bucket.objects.values():
        one.modified -= 8 * 86400
    check_free(store, held)


def test_oss_a_policy_that_has_expired_holds_nothing(oss: tuple[OssStore, Bucket], spool: Spool) -> None:
    """It is still told, and holds no more."""
    store, bucket = oss
    bucket.worm = Worm(7, "Expired")

    check_free(store, stored(store, spool))


def test_oss_tombstones_that_have_to_stay_do_no_harm(oss: tuple[OssStore, Bucket], spool: Spool) -> None:
    """Where every new object is kept for days, the tombstone is too; later runs pass it by, and remove it in time."""
    store, bucket = oss
    capture = stored(store, spool)
    for one in bucket.objects.values():
        one.modified -= 8 * 86400
    bucket.worm = Worm(7)

    check_free(store, capture)
    assert list(notes.listed(store, "default", keys.DELETED)) == [capture.capture_id]
    assert finish_begun(store, "default") == {}
    for one in bucket.objects.values():
        one.modified -= 8 * 86400
    assert finish_begun(store, "default") == {}
    assert list(notes.listed(store, "default", keys.DELETED)) == []


def test_oss_a_hold_that_comes_at_the_last_moment_is_heeded(
    oss: tuple[OssStore, Bucket], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy between the look and the removal: the store refuses, and the removal is taken back."""
    store, bucket = oss
    capture = stored(store, spool)
    held = removal.held

    def look_then_lock(*arguments: Any) -> str:
        why = held(*arguments)
        bucket.worm = Worm(7)
        return why

    monkeypatch.setattr(removal, "held", look_then_lock)

    (seen,) = prune(store)

    assert seen.fate == "held"
    assert catalogue.read(store, "default", capture.capture_id) == capture


# --- a folder, and the viewer before it -----------------------------------------------------------------------------


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """What `chattr +i` does, until the context ends."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack_from("i", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8)))
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("q", flags | IMMUTABLE))
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("q", flags))
    finally:
        os.close(descriptor)


@pytest.fixture
def can_be_immutable(tmp_path: Path) -> None:
    """Only root may, and not on every file system."""
    try:
        with immutable(tmp_path):
            return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip("files cannot be made immutable here: it takes root and ext4, XFS or Btrfs")


@pytest.mark.parametrize("name", ["a.json", MANIFEST, "."])
@pytest.mark.usefixtures("can_be_immutable")
def test_an_immutable_file_holds_its_capture(tmp_path: Path, spool: Spool, name: str) -> None:
    """`chattr +i` on a file, or on the capture's folder, is a hold."""
    store = LocalStore((tmp_path / "store").as_uri())
    held = stored(store, spool)

    with immutable(store.root / keys.prefix("default", held.capture_id) / name):
        check_held(store, held, "immutable")

    check_free(store, held)


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Running]:
    """A viewer over a folder."""
    with running(tmp_path / "store") as one:
        yield one


@pytest.mark.usefixtures("can_be_immutable")
def test_a_viewer_tells_what_its_store_holds(viewer: Running, spool: Spool) -> None:
    """423 with the reason, to a delete and to who asks before; nothing goes."""
    store = open_store(viewer.url)
    held = stored(store, spool)
    key = keys.key("default", held.capture_id, "a.json")

    with immutable(viewer.store / key):
        check_held(store, held, "immutable")
        answer = viewer.ask("DELETE", f"api/v1/objects/{key}")
        with pytest.raises(StoreHeld, match="immutable"):
            store.delete(key)

    assert answer.status_code == 423 and "immutable" in answer.json()["error"]
    check_free(store, held)
    with suppress(FileNotFoundError):
        assert not list((viewer.store / "v1").iterdir())


def test_what_is_not_there_is_not_held(viewer: Running, s3_url: str, oss_url: str, tmp_path: Path) -> None:
    """Asking about a key without an object says that nothing holds it."""
    key = keys.key("default", make_capture().capture_id, "a.json")

    for url in (viewer.url, s3_url, oss_url, (tmp_path / "empty").as_uri()):
        assert open_store(url).held([key]) == ""
