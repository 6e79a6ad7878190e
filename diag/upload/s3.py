"""A bucket of S3, or of whatever speaks its API, as a store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from diag.errors import NoSuchObject, StoreConflict, StoreError, StoreRefused, StoreUnreachable
from diag.model import now, stamp, valid_name
from diag.upload import s3_sign
from diag.upload.pace import Pace
from diag.upload.s3_client import Client, Expected
from diag.upload.s3_errors import stranger
from diag.upload.s3_parts import PARTS_ABOVE, Sums, Wanted, abort, compare, deliver
from diag.upload.s3_url import parse
from diag.upload.source import reading
from diag.upload.store import Announced, SignedRequest, StoredObject
from diag.upload.window import Window

PAGE = 1000
IN_MEMORY = 1024 * 1024  # smaller bodies are sent from memory, without waiting for a `100 Continue`
TRIED_UP_TO = 64 * 1024
CHECK = ".diag-check"
NO_BODY = (301, 302, 307, 308, 400, 401, 403, 404, 405, 409)  # answers to HEAD of which only the number is known

_MD5 = re.compile(r"[0-9a-f]{32}(-\d+)?")
# What a bucket without Object Lock says, and a server that has never heard of it.
NO_LOCK = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented", 405, 501)
# Then an ETag is no MD5 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
_ENCRYPTED = ("aws:kms", "aws:kms:dsse")


class S3Store:
    """Objects under `s3://bucket/prefix`. Credentials come from the SDK's own chain, never from the URL."""

    at_once = 8

    def __init__(self, url: str, token: str = "", pace: Pace | None = None) -> None:
        self._address = parse(url)
        self.url = self._address.url
        self._client = Client(self._address, pace or Pace())

    @property
    def clock_ahead_s(self) -> float:
        """How far this machine's clock is ahead, where signatures had to be corrected for it."""
        return self._client.clock_ahead_s

    def put(self, key: str, source: Path, *, size_bytes: int, sha256: str, content_type: str) -> None:
        """Store the file whole or not at all, verified; see Store.put. Large files go in resumable parts."""
        wanted = Wanted(self._name(key), size_bytes, sha256, content_type)
        with reading(source, size_bytes) as file:
            # Where the server is not known to create only, somebody has to look; and looking is cheaper than sending.
            if (size_bytes > PARTS_ABOVE or not self._client.create_only) and self._stands(wanted):
                return
            sums = Sums(file, size_bytes)
            if size_bytes > PARTS_ABOVE:
                answer = deliver(self._client, wanted, file, sums)
            else:
                compare(wanted, file, sums)
                answer = self._put_whole(wanted, file, sums.tag)
        self._verify(wanted, sums.tag, answer)

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, as they come."""
        try:
            answer = self._client.ask("get_object", expecting=("NoSuchKey",), Key=self._name(key))
        except Expected as error:
            raise NoSuchObject(f"{self.url} has no {key}.") from error
        body = self._client.stream(answer["Body"])
        if not answer.get("ETag"):
            body.close()
            raise stranger(self._address)
        return body

    def stat(self, key: str) -> StoredObject | None:
        """The object's size, or None."""
        found = self._head(self._name(key))
        return None if found is None else StoredObject(key, int(found["ContentLength"]), _sha256(found))

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """All objects under the prefix after a key, in key order, a page at a time."""
        last, more = start_after, True
        while more:
            after = {"StartAfter": self._address.prefix + last} if last else {}
            page = self._list(prefix, PAGE, **after)
            before, more = last, bool(page["IsTruncated"])
            for found in page.get("Contents") or ():
                key = str(found["Key"]).removeprefix(self._address.prefix)
                if key <= last:
                    continue
                last = key
                if _valid(key):
                    yield StoredObject(key, int(found["Size"]))
            if more and last == before:
                raise StoreError(f"{self.url} lists the same objects again and again.", "")

    def folders(self, prefix: str) -> list[str]:
        """The next path parts under a prefix that ends with `/`."""
        found: set[str] = set()
        following: dict[str, str] = {}
        while True:
            page = self._list(prefix, PAGE, Delimiter="/", **following)
            names = {str(one["Prefix"]) for one in page.get("CommonPrefixes") or ()}
            cut = len(self._address.prefix + prefix)
            new = {name[cut:] for name in names if valid_name(name[cut:].removesuffix("/"))} - found
            found |= new
            token = page.get("NextContinuationToken")
            if not page["IsTruncated"] or not token:
                return sorted(found)
            if {"ContinuationToken": token} == following:
                raise StoreError(f"{self.url} lists the same folders again and again.", "")
            following = {"ContinuationToken": token}

    def delete(self, key: str) -> None:
        """Remove the object."""
        with suppress(Expected):
            self._client.ask("delete_object", expecting=("NoSuchKey",), Key=self._name(key))

    def held(self, keys: Sequence[str]) -> str:
        """Which object is under a retention period or a legal hold. Only a bucket with Object Lock is asked further.

        In such a bucket every delete succeeds: it hides the object and keeps it, so that it has to be known before.
        """
        try:
            lock = self._client.ask("get_object_lock_configuration", expecting=NO_LOCK)
        except Expected:
            return ""
        if lock.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            return ""
        return next((f"{key} {why}" for key in keys if (why := self._lock_of(self._name(key)))), "")

    def check(self) -> None:
        """Raise unless a bucket answers there and takes objects from us; nothing stays in it."""
        with suppress(StoreRefused):  # who may put need not be allowed to list
            self._list("", 1)
        name = self._address.prefix + CHECK
        answer = self._client.ask("create_multipart_upload", Key=name)
        if not answer.get("UploadId"):
            raise stranger(self._address)
        abort(self._client, name, str(answer["UploadId"]))

    def sign_put(self, key: str, announced: Announced, *, content_type: str, valid_s: int) -> SignedRequest | None:
        """What creates this object of these bytes; see Signing."""
        wanted = Wanted(self._name(key), announced.size_bytes, announced.sha256, content_type)
        if not s3_sign.creates_only(self._client, f"{self._address.prefix}{CHECK}"):
            return None
        return s3_sign.put(self._client, wanted, announced.md5, valid_s)

    def sign_get(self, key: str, *, content_type: str, valid_s: int) -> SignedRequest:
        """What fetches this object as a file to save."""
        return s3_sign.get(self._client, self._name(key), content_type, valid_s)

    def _name(self, key: str) -> str:
        """The object's name in the bucket. Keys come from outside: each part has to be a plain name."""
        if not _valid(key):
            raise StoreError(f"{key!r} is no key.", "Keys are names with `/` between them.")
        return self._address.prefix + key

    def _list(self, prefix: str, limit: int, **more: Any) -> dict[str, Any]:
        prefix = self._address.prefix + prefix
        page = self._client.ask("list_objects_v2", Prefix=prefix, MaxKeys=limit, **more)
        if "IsTruncated" not in page:
            raise stranger(self._address)
        return page

    def _head(self, name: str) -> dict[str, Any] | None:
        """What the store says of an object. An error to HEAD has no body, so a listing is asked for the reason."""
        try:
            found = self._client.ask("head_object", expecting=NO_BODY, Key=name)
        except Expected as error:
            if error.refusal.status == 404:
                return None
            self._client.ask("list_objects_v2", Prefix=name, MaxKeys=1)
            raise StoreRefused(
                f"{self.url} does not let us read what is stored ({error.refusal.status}).",
                "The key needs s3:GetObject beside s3:PutObject: what was sent is checked.",
            ) from error
        if not found.get("ETag"):
            raise stranger(self._address)
        return found

    def _lock_of(self, name: str) -> str:
        """What keeps an object, empty where nothing does.

        HEAD leaves a lock out where we may not see it, so that where it tells of none, it is asked for by name.
        """
        found = self._head(name)
        if found is None:
            return ""
        hold, until = found.get("ObjectLockLegalHoldStatus"), found.get("ObjectLockRetainUntilDate")
        if hold is None:
            hold = self._lock("get_object_legal_hold", name).get("LegalHold", {}).get("Status")
        if hold == "ON":
            return "is under a legal hold"
        if until is None:
            until = self._lock("get_object_retention", name).get("Retention", {}).get("RetainUntilDate")
        return f"has to be kept until {stamp(until)}" if until is not None and until > now() else ""

    def _lock(self, operation: str, name: str) -> dict[str, Any]:
        try:
            return self._client.ask(operation, expecting=(*NO_LOCK, "NoSuchKey"), Key=name)
        except Expected:
            return {}

    def _put_whole(self, wanted: Wanted, file: BinaryIO, tag: str) -> dict[str, Any] | None:
        window = Window(file, 0, wanted.size_bytes)
        body = window.read() if wanted.size_bytes <= IN_MEMORY else window
        known = self._client.create_only
        parameters = {"Key": wanted.name, "ContentMD5": wanted.md5_base64(tag), **wanted.headers()}
        answer = self._client.create("put_object", Body=body, **parameters)
        if known is None and self._client.create_only is None and wanted.size_bytes <= TRIED_UP_TO:
            # Some servers take If-None-Match and ignore it. The same bytes once more harm nobody, and it is known.
            self._client.create_only = self._client.create("put_object", Body=body, **parameters) is None
        return answer

    def _stands(self, wanted: Wanted) -> bool:
        """Whether the object is there already. Raises StoreConflict where other bytes are."""
        try:
            found = self._head(wanted.name)
        except StoreRefused:  # AWS says so of a missing key to whom may not list; a server that creates only will tell
            if self._client.create_only is False:
                raise
            return False
        if found is None:
            return False
        if not self._same(wanted, found, ""):
            raise self._conflict(wanted, found)
        return True

    def _verify(self, wanted: Wanted, tag: str, answer: dict[str, Any] | None) -> None:
        """Make sure that the store has these bytes; `answer` is None where the key was taken before."""
        if answer is not None and _etag(answer) == tag:
            return  # the server's own sum of all that it received
        found = self._head(wanted.name)
        if found is None:
            raise StoreUnreachable(f"{self.url} took {wanted.name} and does not have it.")
        if self._same(wanted, found, tag):
            return
        if answer is None or not self._client.create_only:
            raise self._conflict(wanted, found)
        with suppress(StoreError):  # ours, made just now, and damaged
            self._client.ask("delete_object", Key=wanted.name)
        raise StoreUnreachable(f"{self.url} kept other bytes of {wanted.name} than it was sent.")

    def _same(self, wanted: Wanted, found: dict[str, Any], tag: str) -> bool:
        """Whether what is there is what is wanted; `tag` is the ETag that it should have, where that is known."""
        kept = _sha256(found)
        if int(found["ContentLength"]) != wanted.size_bytes or (kept and kept != wanted.sha256):
            return False
        if tag and _etag(found) == tag:
            return True
        opaque = found.get("ServerSideEncryption") in _ENCRYPTED or found.get("SSECustomerAlgorithm")
        if kept and (not tag or opaque or not _comparable(_etag(found), tag)):
            return True
        return self._read_sha256(wanted.name) == wanted.sha256

    def _read_sha256(self, name: str) -> str:
        """Read the object back: the proof where a server's sums do not agree with ours."""
        found = hashlib.sha256()
        with self._client.stream(self._client.ask("get_object", Key=name)["Body"]) as source:
            while chunk := source.read(IN_MEMORY):
                found.update(chunk)
        return found.hexdigest()

    def _conflict(self, wanted: Wanted, found: dict[str, Any]) -> StoreConflict:
        if not _sha256(found):
            # Not made by us: it may be a page that a wall answers everything with. A refused listing is S3's too.
            with suppress(StoreRefused):
                self._list("", 1)
        return StoreConflict(
            f"{self.url} has {wanted.name} already with other bytes.",
            "Objects are never replaced: send it as a new capture.",
        )


def _valid(key: str) -> bool:
    return all(valid_name(part) for part in key.split("/"))


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag") or "").strip('"').lower()


def _sha256(found: dict[str, Any]) -> str:
    return str(found.get("Metadata", {}).get("sha256") or "")


def _comparable(etag: str, tag: str) -> bool:
    """Whether both are MD5 sums of as many parts."""
    return bool(_MD5.fullmatch(etag)) and etag.partition("-")[2] == tag.partition("-")[2]
