"""A store in a bucket of Alibaba Cloud OSS: `oss://bucket/prefix`."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from diag.errors import (
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
    ToolMissing,
)
from diag.model import now, stamp, valid_name
from diag.upload.oss_errors import AlreadyThere, ClockCorrected, Damaged, stranger
from diag.upload.oss_parts import CHUNK, IN_PARTS_ABOVE, Content, measure, put_in_parts
from diag.upload.oss_url import read_url
from diag.upload.pace import Pace
from diag.upload.store import Announced, SignedRequest, StoredObject

if TYPE_CHECKING:
    from diag.upload.oss_client import Client

PAGE = 1000
SHA256 = "x-oss-meta-sha256"


class OssStore:
    """Objects in a bucket, under a prefix. The token of a viewer is not used: credentials are those of OSS."""

    at_once = 8

    def __init__(self, url: str, token: str = "", pace: Pace | None = None) -> None:
        if importlib.util.find_spec("oss2") is None:
            raise ToolMissing("The OSS store is not installed: oss2 is missing.", "pip install 'diag[oss]'")
        self._place = read_url(url, os.environ)
        self._pace = pace or Pace()
        self.url = self._place.url

    @property
    def clock_ahead_s(self) -> float:
        """How far this machine's clock is ahead, where signatures had to be corrected for it."""
        return self._client.clock.ahead_s

    def put(self, key: str, source: Path, *, size_bytes: int, sha256: str, content_type: str) -> None:
        """Store the file whole or not at all; see Store.put.

        The server's CRC-64 of what it has is compared with ours, and its MD5 of a small object before it is one.
        """
        name = self._name(key)
        with _reading(source) as file:
            content = measure(file, size_bytes)
            if (content.size_bytes, content.sha256) != (size_bytes, sha256):
                raise StoreRejected(f"{source} is not the file of {size_bytes} bytes that was announced for {key}.")
            headers = {"Content-Type": content_type, SHA256: sha256, "x-oss-forbid-overwrite": "true"}
            try:
                try:
                    self._store(name, content, headers)
                except ClockCorrected:
                    self._store(name, content, headers)
            except Damaged:
                self.delete(key)  # it says that it has these bytes, and has others: nobody wants it
                raise

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, as they come; reading raises StoreUnreachable where they break off."""
        name = self._name(key)
        with self._client.answering("oss:GetObject"):
            answer = self._client.bucket.get_object(name)
        return cast("BinaryIO", io.BufferedReader(_Body(self._client, answer), CHUNK))

    def stat(self, key: str) -> StoredObject | None:
        """The object's size, or None."""
        found = self._head(self._name(key))
        return StoredObject(key, found.content_length, found.headers.get(SHA256, "")) if found else None

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """All objects under the prefix after a key, in key order, a page at a time."""
        own = self._place.prefix
        for page in self._pages(prefix=own + prefix, start_after=own + start_after if start_after else ""):
            for one in page.object_list:
                yield StoredObject(one.key.removeprefix(own), one.size)

    def folders(self, prefix: str) -> list[str]:
        """The next path parts under a prefix that ends with `/`."""
        whole = self._place.prefix + prefix
        pages = self._pages(prefix=whole, delimiter="/")
        return sorted({folder.removeprefix(whole) for page in pages for folder in page.prefix_list})

    def delete(self, key: str) -> None:
        """Remove the object; OSS says the same where there was none."""
        name = self._name(key)
        with suppress(NoSuchObject), self._client.answering("oss:DeleteObject"):
            self._client.bucket.delete_object(name)

    def held(self, keys: Sequence[str]) -> str:
        """Which object the bucket's retention policy keeps, counted from when it was stored.

        A policy that is not locked yet protects too: https://www.alibabacloud.com/help/en/oss/user-guide/oss-retention-policies
        """
        try:
            with self._client.answering("oss:GetBucketWorm"):
                policy = self._client.bucket.get_bucket_worm()
        except NoSuchObject:
            return ""
        if policy.state not in ("InProgress", "Locked"):
            return ""
        for key in keys:
            found = self._head(self._name(key))
            if found is not None:
                until = datetime.fromtimestamp(found.last_modified, UTC) + timedelta(policy.retention_period_days)
                if until > now():
                    return f"{key} has to be kept until {stamp(until)}"
        return ""

    def check(self) -> None:
        """Raise what a `put` would raise now: an upload is begun, which needs the same right, and given up again."""
        name = f"{self._place.prefix}.diag-check-{secrets.token_hex(8)}"
        with self._client.answering("oss:PutObject"):
            begun = self._client.bucket.init_multipart_upload(name)
        with suppress(StoreRefused), self._client.answering("oss:AbortMultipartUpload"):
            self._client.bucket.abort_multipart_upload(name, begun.upload_id)

    def sign_put(self, key: str, announced: Announced, *, content_type: str, valid_s: int) -> SignedRequest:
        """What creates this object of these bytes; see Signing. Its MD5 is signed, and so the size is."""
        headers = {
            "Content-Type": content_type,
            "Content-MD5": base64.b64encode(bytes.fromhex(announced.md5)).decode(),
            SHA256: announced.sha256,
            "x-oss-forbid-overwrite": "true",
        }
        return SignedRequest("PUT", self._sign("PUT", key, valid_s, headers=dict(headers)), headers)

    def sign_get(self, key: str, *, content_type: str, valid_s: int) -> SignedRequest:
        """What fetches this object as a file to save."""
        name = key.rpartition("/")[2]
        says = {
            "response-content-disposition": f'attachment; filename="{name}"',
            "response-content-type": content_type,
            "response-cache-control": "no-store",
        }
        return SignedRequest("GET", self._sign("GET", key, valid_s, params=says))

    @cached_property
    def _client(self) -> Client:
        from diag.upload.oss_client import Client  # with oss2, and only where the bucket is really used

        return Client(self._place, self._pace)

    def _name(self, key: str) -> str:
        """The object's whole name. Keys come from outside: none leads out of the prefix."""
        if not all(valid_name(part) for part in key.split("/")):
            raise StoreError(f"{key!r} is no key.", "Keys are names with `/` between them.")
        return self._place.prefix + key

    def _sign(self, method: str, key: str, valid_s: int, **covered: Any) -> str:
        name = self._name(key)
        with self._client.answering(f"oss:{method.title()}Object"):
            return str(self._client.bucket.sign_url(method, name, valid_s, slash_safe=True, **covered))

    def _store(self, name: str, content: Content, headers: dict[str, str]) -> None:
        try:
            if content.size_bytes > IN_PARTS_ABOVE:
                put_in_parts(self._client, name, content, headers, lambda: self._has(name, content))
            else:
                self._put_whole(name, content, headers)
        except AlreadyThere:
            if not self._has(name, content):
                raise StoreUnreachable(f"{self.url} had {name} a moment ago, and now it has not.") from None

    def _put_whole(self, name: str, content: Content, headers: dict[str, str]) -> None:
        content.file.seek(0)
        checked = {**headers, "Content-MD5": base64.b64encode(content.md5).decode()}
        with self._client.answering("oss:PutObject"):
            answer = self._client.bucket.put_object(name, content.file, headers=checked)
        if answer.crc is None:  # then oss2 has compared nothing
            raise stranger(self._place)

    def _has(self, name: str, content: Content) -> bool:
        """Whether the object is there with these bytes. Raises StoreConflict where it is another's, Damaged."""
        found = self._head(name)
        if found is None:
            return False
        # Somebody else's tool may have put it there, without our metadata.
        if found.content_length != content.size_bytes or content.sha256 != (
            found.headers.get(SHA256) or self._sha256_of(name)
        ):
            raise StoreConflict(
                f"{self.url} has {name} already with other bytes.",
                "Objects are never replaced: send it as a new capture.",
            )
        if found.server_crc is not None and found.server_crc != content.checksum(self._client):
            raise Damaged(f"{self.url} has other bytes under {name} than were sent.")
        return True

    def _head(self, name: str) -> Any:
        """The object's headers, or None."""
        try:
            with self._client.answering("oss:GetObject"):
                found = self._client.bucket.head_object(name)
        except NoSuchObject:
            return None
        if found.content_length is None:
            raise stranger(self._place)
        return found

    def _sha256_of(self, name: str) -> str:
        found = hashlib.sha256()
        with self.open(name.removeprefix(self._place.prefix)) as body:
            while chunk := body.read(CHUNK):
                found.update(chunk)
        return found.hexdigest()

    def _pages(self, **query: str) -> Iterator[Any]:
        token = ""
        while True:
            with self._client.answering("oss:ListObjects"):
                page = self._client.bucket.list_objects_v2(continuation_token=token, max_keys=PAGE, **query)
            yield page
            if not page.is_truncated:
                return
            if page.next_continuation_token == token:
                raise StoreError(f"{self.url} lists the same objects again and again.", "")
            token = page.next_continuation_token


class _Body(io.RawIOBase):
    """An answer's body as a file. At its end the CRC-64 of what came is compared with the server's."""

    def __init__(self, client: Client, answer: Any) -> None:
        self._client, self._answer = client, answer
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            with self._client.answering("oss:GetObject"):
                self._left = self._answer.read(CHUNK)
                if not self._left and self._answer.server_crc not in (None, self._answer.client_crc):
                    raise Damaged(f"{self._client.place.url} sent other bytes than it has.")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def close(self) -> None:
        self._answer.close()
        super().close()


@contextmanager
def _reading(source: Path) -> Iterator[BinaryIO]:
    try:
        with source.open("rb") as file:
            yield file
    except OSError as error:  # what the network does is a StoreError by now
        raise StoreRejected(f"{source} cannot be read: {error.strerror}.", "") from error
