"""The OSS test server is OSS to two independent clients of Alibaba's, and refuses what OSS refuses."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import alibabacloud_oss_v2 as v2
import oss2
import pytest
import requests
from alibabacloud_oss_v2.exceptions import OperationError, ServiceError
from machine import TIMEOUT_S
from oss_server import Key, OssServer, running

BUCKET, REGION = "diag-test", "cn-hangzhou"
ODD = "a b+c/ü%41&=?#;~'\"/<x>.json"
BIG = os.urandom(250_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    """A server with a bucket, a permanent key and a temporary one."""
    keys = {"permanent": Key("s3cret"), "temporary": Key("s4cret", "to/ken+=")}
    with running(tmp_path / "oss", keys, region=REGION) as one:
        one.make_bucket(BUCKET)
        yield one


class Client(Protocol):
    """What both clients are asked to do. Refusals are raised as (status, code)."""

    def put(self, key: str, data: bytes, **headers: str) -> None: ...
    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes: ...
    def head(self, key: str) -> dict[str, str]: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str = "", delimiter: str = "", start_after: str = "", size: int = 2) -> list[str]: ...
    def upload(self, key: str, parts: list[bytes]) -> None: ...
    def begin(self, key: str) -> str: ...
    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str: ...
    def uploads(self, prefix: str) -> list[tuple[str, str]]: ...
    def parts(self, key: str, upload_id: str) -> list[tuple[int, int, str]]: ...
    def abort(self, key: str, upload_id: str) -> None: ...
    def append(self, key: str, position: int, data: bytes) -> int: ...
    def signed(self, method: str, key: str, seconds: int) -> str: ...
    def signed_put(self, key: str, data: bytes, seconds: int) -> tuple[str, dict[str, str]]: ...
    def signed_file(self, key: str, name: str) -> str: ...
    def location(self) -> str: ...


class Refused(Exception):
    """(status, code) of a refusal."""


class Oss2:
    """Client one: oss2."""

    def __init__(self, endpoint: str, key: str, secret: str, token: str, version: str, region: str = REGION) -> None:
        provider = oss2.credentials.StaticCredentialsProvider(key, secret, token)
        auth = {"v1": oss2.ProviderAuth, "v4": oss2.ProviderAuthV4}[version](provider)
        self.bucket: Any = oss2.Bucket(auth, endpoint, BUCKET, region=region)

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        return _refusing(found) if callable(found) else found

    def put(self, key: str, data: bytes, **headers: str) -> None:
        self.bucket.put_object(key, data, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes:
        answer = self.bucket.get_object(key, byte_range=span)
        content: bytes = answer.read()
        assert span or answer.client_crc == answer.server_crc
        return content

    def head(self, key: str) -> dict[str, str]:
        found = self.bucket.head_object(key)
        return {"size": str(found.content_length), "note": found.headers.get("x-oss-meta-note", "")}

    def delete(self, key: str) -> None:
        self.bucket.delete_object(key)

    def keys(self, prefix: str = "", delimiter: str = "", start_after: str = "", size: int = 2) -> list[str]:
        pages = oss2.ObjectIteratorV2(self.bucket, prefix, delimiter, start_after=start_after, max_keys=size)
        return [one.key for one in pages]

    def upload(self, key: str, parts: list[bytes]) -> None:
        upload_id = self.begin(key)
        done = [self.bucket.upload_part(key, upload_id, number, part) for number, part in enumerate(parts, 1)]
        infos = [
            oss2.models.PartInfo(n, one.etag, len(parts[n - 1]), part_crc=one.crc) for n, one in enumerate(done, 1)
        ]
        self.bucket.complete_multipart_upload(key, upload_id, infos)

    def begin(self, key: str) -> str:
        return str(self.bucket.init_multipart_upload(key).upload_id)

    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        return str(self.bucket.upload_part(key, upload_id, number, data).etag)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        pages = oss2.MultipartUploadIterator(self.bucket, prefix, max_uploads=1)
        return [(one.key, one.upload_id) for one in pages]

    def parts(self, key: str, upload_id: str) -> list[tuple[int, int, str]]:
        pages = oss2.PartIterator(self.bucket, key, upload_id, max_parts=1)
        return [(one.part_number, one.size, one.etag) for one in pages]

    def abort(self, key: str, upload_id: str) -> None:
        self.bucket.abort_multipart_upload(key, upload_id)

    def append(self, key: str, position: int, data: bytes) -> int:
        return int(self.bucket.append_object(key, position, data).next_position)

    def signed(self, method: str, key: str, seconds: int) -> str:
        return str(self.bucket.sign_url(method, key, seconds, slash_safe=True))

    def signed_put(self, key: str, data: bytes, seconds: int) -> tuple[str, dict[str, str]]:
        headers = {
            "Content-MD5": oss2.utils.content_md5(data),
            "Content-Type": "text/plain",
            "x-oss-meta-note": "n",
            "x-oss-forbid-overwrite": "true",
        }
        return str(self.bucket.sign_url("PUT", key, seconds, headers=dict(headers), slash_safe=True)), headers

    def signed_file(self, key: str, name: str) -> str:
        says = {"response-content-disposition": f'attachment; filename="{name}"'}
        return str(self.bucket.sign_url("GET", key, 60, params=says, slash_safe=True))

    def location(self) -> str:
        assert self.bucket.get_bucket_info().name == BUCKET
        return str(self.bucket.get_bucket_location().location)


class OssV2:
    """Client two: alibabacloud-oss-v2."""

    def __init__(self, endpoint: str, key: str, secret: str, token: str, version: str, region: str = REGION) -> None:
        provider = v2.credentials.StaticCredentialsProvider(key, secret, token or None)
        self.client = v2.Client(
            v2.Config(
                region=region,
                endpoint=endpoint,
                credentials_provider=provider,
                signature_version=version,
                retry_max_attempts=1,
            )
        )

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        return _refusing(found) if callable(found) and name != "client" else found

    def put(self, key: str, data: bytes, **headers: str) -> None:
        named: dict[str, Any] = {}
        if "x_oss_forbid_overwrite" in headers:
            named["forbid_overwrite"] = True
        if "Content_MD5" in headers:
            named["content_md5"] = headers["Content_MD5"]
        if "x_oss_meta_note" in headers:
            named["metadata"] = {"note": headers["x_oss_meta_note"]}
        self.client.put_object(v2.PutObjectRequest(BUCKET, key, body=data, **named))

    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes:
        header = f"bytes={span[0]}-{span[1]}" if span else None
        body = self.client.get_object(v2.GetObjectRequest(BUCKET, key, range_header=header)).body
        assert body is not None
        return bytes(body.read())

    def head(self, key: str) -> dict[str, str]:
        found = self.client.head_object(v2.HeadObjectRequest(BUCKET, key))
        return {"size": str(found.content_length), "note": (found.metadata or {}).get("note", "")}

    def delete(self, key: str) -> None:
        self.client.delete_object(v2.DeleteObjectRequest(BUCKET, key))

    def keys(self, prefix: str = "", delimiter: str = "", start_after: str = "", size: int = 2) -> list[str]:
        request = v2.ListObjectsV2Request(
            BUCKET, prefix=prefix, delimiter=delimiter, start_after=start_after, max_keys=size
        )
        found = []
        for page in self.client.list_objects_v2_paginator().iter_page(request):
            found += [one.key for one in page.contents or []]
            found += [one.prefix for one in page.common_prefixes or []]
        return sorted(found)

    def upload(self, key: str, parts: list[bytes]) -> None:
        upload_id = self.begin(key)
        done = [self.part(key, upload_id, number, part) for number, part in enumerate(parts, 1)]
        infos = [v2.UploadPart(part_number=number, etag=etag) for number, etag in enumerate(done, 1)]
        self.client.complete_multipart_upload(
            v2.CompleteMultipartUploadRequest(
                BUCKET, key, upload_id, complete_multipart_upload=v2.CompleteMultipartUpload(parts=infos)
            )
        )

    def begin(self, key: str) -> str:
        return str(self.client.initiate_multipart_upload(v2.InitiateMultipartUploadRequest(BUCKET, key)).upload_id)

    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        return str(self.client.upload_part(v2.UploadPartRequest(BUCKET, key, number, upload_id, body=data)).etag)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        request = v2.ListMultipartUploadsRequest(BUCKET, prefix=prefix, max_uploads=1)
        pages = self.client.list_multipart_uploads_paginator().iter_page(request)
        return [(str(one.key), str(one.upload_id)) for page in pages for one in page.uploads or []]

    def parts(self, key: str, upload_id: str) -> list[tuple[int, int, str]]:
        request = v2.ListPartsRequest(BUCKET, key, upload_id, max_parts=1)
        pages = self.client.list_parts_paginator().iter_page(request)
        return [(one.part_number, one.size, str(one.etag).strip('"')) for page in pages for one in page.parts or []]

    def abort(self, key: str, upload_id: str) -> None:
        self.client.abort_multipart_upload(v2.AbortMultipartUploadRequest(BUCKET, key, upload_id))

    def append(self, key: str, position: int, data: bytes) -> int:
        request = v2.AppendObjectRequest(BUCKET, key, position=position, body=data)
        return int(self.client.append_object(request).next_position or -1)

    def signed(self, method: str, key: str, seconds: int) -> str:
        request = {"GET": v2.GetObjectRequest, "PUT": v2.PutObjectRequest}[method](BUCKET, key)
        return str(self.client.presign(request, expires=timedelta(seconds=seconds)).url)

    def signed_put(self, key: str, data: bytes, seconds: int) -> tuple[str, dict[str, str]]:
        md5 = oss2.utils.content_md5(data)
        request = v2.PutObjectRequest(
            BUCKET, key, content_md5=md5, content_type="text/plain", metadata={"note": "n"}, forbid_overwrite=True
        )
        made = self.client.presign(request, expires=timedelta(seconds=seconds))
        return str(made.url), dict(made.signed_headers or {})

    def signed_file(self, key: str, name: str) -> str:
        says = f'attachment; filename="{name}"'
        return str(self.client.presign(v2.GetObjectRequest(BUCKET, key, response_content_disposition=says)).url)

    def location(self) -> str:
        info = self.client.get_bucket_info(v2.GetBucketInfoRequest(BUCKET)).bucket_info
        assert info is not None and info.name == BUCKET
        return str(self.client.get_bucket_location(v2.GetBucketLocationRequest(BUCKET)).location)


def _refusing(call: Callable[..., Any]) -> Callable[..., Any]:
    def asking(*args: Any, **kwargs: Any) -> Any:
        with _one_kind_of_refusal():
            return call(*args, **kwargs)

    return asking


@contextmanager
def _one_kind_of_refusal() -> Iterator[None]:
    try:
        yield
    except oss2.exceptions.ServerError as error:
        raise Refused(error.status, error.code) from error
    except OperationError as error:
        inner = error.unwrap()
        assert isinstance(inner, ServiceError), inner
        raise Refused(inner.status_code, inner.code) from error


KINDS = {"oss2": Oss2, "v2": OssV2}


@pytest.fixture(params=[(kind, version) for kind in KINDS for version in ("v1", "v4")], ids="-".join)
def client(request: pytest.FixtureRequest, server: OssServer) -> Client:
    """Each client with each version of signatures."""
    kind, version = request.param
    made: Client = KINDS[kind](server.endpoint, "permanent", "s3cret", "", version)
    return made


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """Each client's class."""
    return KINDS[request.param]


@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "one", "big"])
def test_objects_come_back(client: Client, content: bytes) -> None:
    """What was put is read whole, in part and by its headers, and is gone when it was deleted."""
    client.put(ODD, content, x_oss_meta_note="hello")

    assert client.get(ODD) == content
    assert client.head(ODD) == {"size": str(len(content)), "note": "hello"}
    if len(content) > 100:
        assert client.get(ODD, (10, 19)) == content[10:20]
    client.delete(ODD)
    for use in (client.get, client.head):
        with pytest.raises(Refused) as caught:
            use(ODD)
        assert caught.value.args == (404, "NoSuchKey")
    client.delete(ODD)


def test_a_restart_keeps_all(server: OssServer, kind: type[Any]) -> None:
    """Objects and unfinished uploads are on disk."""
    first = kind(server.endpoint, "permanent", "s3cret", "", "v4")
    first.put("kept", b"kept")
    upload_id = first.begin("unfinished")
    first.part("unfinished", upload_id, 3, BIG)

    with running(server.folder, server.access_keys, region=REGION) as again:
        second = kind(again.endpoint, "permanent", "s3cret", "", "v4")
        assert second.get("kept") == b"kept"
        assert second.uploads("") == [("unfinished", upload_id)]
        assert second.parts("unfinished", upload_id)[0][:2] == (3, len(BIG))


def test_an_object_can_be_protected(client: Client) -> None:
    """x-oss-forbid-overwrite keeps what is there; without it, it is replaced."""
    client.put("a", b"first", x_oss_forbid_overwrite="true")
    with pytest.raises(Refused) as caught:
        client.put("a", b"other", x_oss_forbid_overwrite="true")

    assert caught.value.args == (409, "FileAlreadyExists")
    assert client.get("a") == b"first"
    client.put("a", b"other")
    assert client.get("a") == b"other"


def test_a_body_with_another_md5_is_refused(client: Client) -> None:
    """Content-MD5 is compared with what arrived, and nothing is stored."""
    md5 = oss2.utils.content_md5(b"other")
    with pytest.raises(Refused) as caught:
        client.put("a", b"first", Content_MD5=md5)

    assert caught.value.args == (400, "InvalidDigest")
    assert client.keys() == []
    client.put("a", b"other", Content_MD5=md5)


def test_listings_have_pages_prefixes_and_folders(client: Client) -> None:
    """Keys come in the order of their bytes, page by page, after a key, below a prefix, and by folder."""
    keys = sorted([ODD, "b/1", "b/2", "b/c/3", "b/c/4", "b/d/5", "b-x", "é", "z"], key=str.encode)
    for key in keys:
        client.put(key, b"x")

    assert client.keys() == keys
    assert client.keys(size=1000) == keys
    assert client.keys(start_after="b/2") == keys[keys.index("b/2") + 1 :]
    assert client.keys("b/") == ["b/1", "b/2", "b/c/3", "b/c/4", "b/d/5"]
    for size in (1, 2, 3, 100):
        assert client.keys("b/", "/", size=size) == ["b/1", "b/2", "b/c/", "b/d/"]
    assert client.keys("a b+") == [ODD]


def test_uploads_in_parts(client: Client) -> None:
    """Parts become an object; until then they are listed, and can be given up."""
    client.upload(ODD, [BIG, BIG, b"end"])
    assert client.get(ODD) == BIG + BIG + b"end"
    assert client.uploads("") == []

    ids = sorted(client.begin(key) for key in ("u", "u", "v"))
    listed = client.uploads("u")
    assert len(listed) == 2
    assert sorted(one for _, one in client.uploads("")) == ids
    upload_id = listed[0][1]
    etags = [client.part("u", upload_id, number, BIG[:number]) for number in (1, 2)]
    assert {one.strip('"') for one in etags} == {hashlib.md5(BIG[:n]).hexdigest().upper() for n in (1, 2)}
    assert client.parts("u", upload_id) == [(n, n, hashlib.md5(BIG[:n]).hexdigest().upper()) for n in (1, 2)]
    client.abort("u", upload_id)
    with pytest.raises(Refused) as caught:
        client.parts("u", upload_id)
    assert caught.value.args == (404, "NoSuchUpload")


def test_parts_that_are_too_small_are_refused(client: Client) -> None:
    """Only the last part may be below 100 KB."""
    with pytest.raises(Refused) as caught:
        client.upload("small", [b"x", b"y"])

    assert caught.value.args == (400, "EntityTooSmall")


def test_objects_can_be_appended_to(client: Client) -> None:
    """At their end, and only where they were made so."""
    assert client.append("log", 0, b"one,") == 4
    assert client.append("log", 4, b"two") == 7
    assert client.get("log") == b"one,two"
    with pytest.raises(Refused) as caught:
        client.append("log", 4, b"x")
    assert caught.value.args == (409, "PositionNotEqualToLength")
    client.put("whole", b"x")
    with pytest.raises(Refused) as caught:
        client.append("whole", 1, b"x")
    assert caught.value.args == (409, "ObjectNotAppendable")


def test_the_bucket_can_be_asked(client: Client) -> None:
    """Its region is known."""
    assert client.location() == f"oss-{REGION}"


def test_signed_urls_work_until_they_expire(server: OssServer, client: Client) -> None:
    """Such a URL does what it was signed for, and nothing else, and not for longer."""
    put, get = client.signed("PUT", "a/b c", 60), client.signed("GET", "a/b c", 60)

    assert requests.put(put, data=b"signed", timeout=TIMEOUT_S).status_code == 200
    assert requests.get(get, timeout=TIMEOUT_S).content == b"signed"
    assert requests.put(get, data=b"x", timeout=TIMEOUT_S).status_code == 403
    assert requests.get(get.replace("b%20c", "d"), timeout=TIMEOUT_S).status_code == 403
    moment = server.now()
    server.now = lambda: moment + 61
    answer = requests.get(get, timeout=TIMEOUT_S)
    assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)


def test_a_signed_url_says_how_the_object_is_sent(client: Client) -> None:
    """Headers of the answer stand in the query, and are signed."""
    client.put("a", b"x")
    url = client.signed_file("a", "b.json")

    assert requests.get(url, timeout=TIMEOUT_S).headers["Content-Disposition"] == 'attachment; filename="b.json"'
    assert requests.get(url.replace("attachment", "inline"), timeout=TIMEOUT_S).status_code == 403


def test_signed_urls_bind_what_their_headers_say(server: OssServer, client: Client) -> None:
    """Key, content, type and metadata are those that were signed; and nothing is replaced."""
    url, headers = client.signed_put("a/b c", b"signed", 60)
    moment = server.now()

    def put(address: str = url, data: bytes = b"signed", **changed: str) -> tuple[int, str]:
        more = {name.replace("_", "-"): value for name, value in changed.items()}
        sent = {name: value for name, value in {**{n.lower(): v for n, v in headers.items()}, **more}.items() if value}
        answer = requests.put(address, data=data, headers=sent, timeout=TIMEOUT_S)
        return answer.status_code, answer.text.partition("<Code>")[2].partition("</Code>")[0]

    mismatch = (403, "SignatureDoesNotMatch")
    assert put(data=b"other!") == put(data=b"longer than it") == put(data=b"") == (400, "InvalidDigest")
    assert put(url.replace("b%20c", "d")) == mismatch
    assert put(content_md5=oss2.utils.content_md5(b"other!"), data=b"other!") == mismatch
    assert put(x_oss_forbid_overwrite="") == put(x_oss_forbid_overwrite="false") == mismatch
    assert put(x_oss_meta_note="m") == put(x_oss_meta_more="m") == put(content_type="text/html") == mismatch
    server.now = lambda: moment + 61
    assert put() == (403, "AccessDenied")
    server.now = lambda: moment
    assert server.buckets[BUCKET].objects == {}
    assert put() == (200, "")
    assert put() == (409, "FileAlreadyExists")


@pytest.mark.parametrize("version", ["v1", "v4"])
@pytest.mark.parametrize(
    ("key", "secret", "token", "code"),
    [
        ("permanent", "wrong", "", "SignatureDoesNotMatch"),
        ("nobody", "s3cret", "", "InvalidAccessKeyId"),
        ("temporary", "s4cret", "", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_refused(
    server: OssServer, kind: type[Any], version: str, key: str, secret: str, token: str, code: str
) -> None:
    """Reading and writing alike, and nothing is stored."""
    client = kind(server.endpoint, key, secret, token, version)

    for use in (lambda: client.put("a", b"x"), lambda: client.get("a"), lambda: client.keys()):
        with pytest.raises(Refused) as caught:
            use()
        assert caught.value.args == (403, code)
    assert server.buckets[BUCKET].objects == {}


def test_session_tokens_are_checked(server: OssServer, kind: type[Any]) -> None:
    """A temporary key works with its own token, until that has expired."""
    good = kind(server.endpoint, "temporary", "s4cret", "to/ken+=", "v4")
    good.put("a", b"x")
    assert requests.get(good.signed("GET", "a", 60), timeout=TIMEOUT_S).content == b"x"

    with pytest.raises(Refused) as caught:
        kind(server.endpoint, "temporary", "s4cret", "other", "v4").get("a")
    assert caught.value.args == (403, "InvalidSecurityToken")
    server.access_keys["temporary"] = Key("s4cret", "to/ken+=", expires=server.now() - 1)
    with pytest.raises(Refused) as caught:
        good.get("a")
    assert caught.value.args == (403, "SecurityTokenExpired")


def test_session_tokens_are_checked_in_version_1(server: OssServer) -> None:
    """Version 1 covers the token's header (oss2 alone sends it under the name that is documented)."""
    good = Oss2(server.endpoint, "temporary", "s4cret", "to/ken+=", "v1")
    good.put("a", b"x")

    assert requests.get(good.signed("GET", "a", 60), timeout=TIMEOUT_S).content == b"x"


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_clock_that_is_off_is_refused(server: OssServer, kind: type[Any], version: str) -> None:
    """By more than 15 minutes, in either direction."""
    client = kind(server.endpoint, "permanent", "s3cret", "", version)
    moment = server.now()
    client.put("a", b"x")
    for off in (-3600, 3600):
        server.now = lambda off=off: moment + off  # type: ignore[misc]
        with pytest.raises(Refused) as caught:
            client.get("a")
        assert caught.value.args == (403, "RequestTimeTooSkewed")


def test_another_region_is_refused(server: OssServer, kind: type[Any]) -> None:
    """A version 4 signature names the region."""
    with pytest.raises(Refused) as caught:
        kind(server.endpoint, "permanent", "s3cret", "", "v4", region="cn-beijing").get("a")

    assert caught.value.args == (400, "InvalidArgument")


def test_a_changed_request_is_refused(server: OssServer) -> None:
    """What was signed cannot be used for another key, method, query, or with other headers."""
    signed: list[dict[str, str]] = []
    server.before = lambda asked: signed.append(dict(asked.headers))
    Oss2(server.endpoint, "permanent", "s3cret", "", "v4").put("a", b"x", x_oss_meta_note="n")
    headers = {name: value for name, value in signed[0].items() if name not in ("host", "content-length")}
    url = f"{server.endpoint}/{BUCKET}/"

    def status(method: str, path: str, **changed: str) -> int:
        more = {name.replace("_", "-"): value for name, value in changed.items()}
        return requests.request(method, url + path, headers=headers | more, data=b"x", timeout=TIMEOUT_S).status_code

    assert status("PUT", "a") == 200
    assert status("PUT", "b") == 403
    assert status("DELETE", "a") == 403
    assert status("PUT", "a?x=y") == 403
    assert status("PUT", "a", x_oss_meta_note="m") == 403
    assert status("PUT", "a", x_oss_meta_more="m") == 403
    assert status("PUT", "a", content_type="text/other") == 403
    assert requests.get(url + "a", timeout=TIMEOUT_S).status_code == 403


def test_a_missing_bucket_is_named(tmp_path: Path, kind: type[Any]) -> None:
    """Without the bucket, everything is refused."""
    with running(tmp_path / "empty", {"permanent": Key("s3cret")}, region=REGION) as server:
        with pytest.raises(Refused) as caught:
            kind(server.endpoint, "permanent", "s3cret", "", "v4").put("a", b"x")

    assert caught.value.args == (404, "NoSuchBucket")


def test_the_checksum_is_the_published_one(server: OssServer) -> None:
    """CRC-64 of ECMA-182, as OSS returns it: 123456789 has a known one."""
    client = Oss2(server.endpoint, "permanent", "s3cret", "", "v4")
    answer = client.bucket.put_object("a", io.BytesIO(b"123456789"))

    assert answer.crc == 0x995DC9BBDF1939FA
