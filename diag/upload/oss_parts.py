"""Large objects in parts. What is there already is asked of the server, so that a restart needs no notes of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from diag.errors import StoreRefused, StoreUnreachable
from diag.upload.oss_errors import AlreadyThere, Vanished

if TYPE_CHECKING:
    from diag.upload.oss_client import Client

CHUNK = 1024 * 1024
PART, PARTS_MOST = 8 * CHUNK, 10_000
ATTEMPTS = 3
LOOK_AT = 10  # unfinished uploads of one key, the newest


@dataclass(frozen=True, slots=True)
class Measured:
    """A file's size, sha256 (hex) and the MD5 of each of its parts."""

    size_bytes: int
    sha256: str
    part_bytes: int
    parts: tuple[bytes, ...]

    def span(self, number: int) -> tuple[int, int]:
        """Where part `number`, from 1 on, starts, and how long it is."""
        start = (number - 1) * self.part_bytes
        return start, min(self.part_bytes, self.size_bytes - start)

    def is_part(self, number: int, etag: str, size_bytes: int) -> bool:
        """Whether a part that the server lists has this file's bytes."""
        known = 1 <= number <= len(self.parts)
        return known and size_bytes == self.span(number)[1] and etag.lower() == self.parts[number - 1].hex()


def measure(file: BinaryIO, size_bytes: int) -> Measured:
    """Read the file once, in chunks. The length of parts depends on `size_bytes` alone: a restart cuts alike."""
    part_bytes = PART
    while part_bytes * PARTS_MOST < size_bytes:
        part_bytes *= 2
    whole, parts, size = hashlib.sha256(), [hashlib.md5(usedforsecurity=False)], 0
    while chunk := file.read(CHUNK):
        if size and size % part_bytes == 0:
            parts.append(hashlib.md5(usedforsecurity=False))
        whole.update(chunk)
        parts[-1].update(chunk)
        size += len(chunk)
    return Measured(size, whole.hexdigest(), part_bytes, tuple(part.digest() for part in parts))


def md5_header(digest: bytes) -> dict[str, str]:
    """Makes the server refuse a body that has other bytes."""
    return {"Content-MD5": base64.b64encode(digest).decode()}


def put_in_parts(
    client: Client,
    name: str,
    file: BinaryIO,
    measured: Measured,
    headers: Mapping[str, str],
    is_there: Callable[[], bool],
) -> None:
    """Upload what the server lacks, and make the object of it. An upload that the server forgot begins anew.

    `is_there` compares what the store has with the file; it has the last word on a success, too. Raises AlreadyThere
    where somebody else was faster, StoreUnreachable, and whatever `is_there` and `Client.answering` raise.
    """
    for _ in range(ATTEMPTS):
        if is_there():
            return
        with suppress(Vanished):
            _Upload(client, name, file, measured).run(headers)
    if not is_there():
        raise StoreUnreachable(f"{client.place.url} forgets the parts of {name} again and again.")


class _Upload:
    def __init__(self, client: Client, name: str, file: BinaryIO, measured: Measured) -> None:
        self._client, self._name, self._file, self._measured = client, name, file, measured

    def run(self, headers: Mapping[str, str]) -> None:
        upload_id, there = self._unfinished()
        ours = not upload_id
        if ours:
            with self._client.answering("oss:PutObject"):
                begun = self._client.bucket.init_multipart_upload(self._name, headers=dict(headers))
            upload_id = begun.upload_id
        parts = [self._part(upload_id, number, there) for number in range(1, len(self._measured.parts) + 1)]
        try:
            with self._client.answering("oss:PutObject"):
                # oss2 combines the parts' checksums and compares them with the server's of the whole.
                self._client.bucket.complete_multipart_upload(
                    self._name, upload_id, parts, headers={"x-oss-forbid-overwrite": "true"}
                )
        except AlreadyThere:
            if ours:  # what others began may be at work
                with suppress(StoreRefused, Vanished), self._client.answering("oss:AbortMultipartUpload"):
                    self._client.bucket.abort_multipart_upload(self._name, upload_id)
            raise

    def _part(self, upload_id: str, number: int, there: Mapping[int, str]) -> Any:
        start, size = self._measured.span(number)
        self._file.seek(start)
        if number in there:
            return self._client.part(number, there[number], size, self._crc64(size))
        headers = md5_header(self._measured.parts[number - 1])
        with self._client.answering("oss:PutObject"):
            answer = self._client.bucket.upload_part(
                self._name, upload_id, number, self._client.slice(self._file, size), headers=headers
            )
        return self._client.part(number, answer.etag, size, answer.crc)

    def _crc64(self, size: int) -> int:
        crc64 = self._client.crc64()
        while size > 0 and (chunk := self._file.read(min(CHUNK, size))):
            crc64(chunk)
            size -= len(chunk)
        return int(crc64.crc)

    def _unfinished(self) -> tuple[str, dict[int, str]]:
        """(upload id, ETag of each of our parts that it has) of the upload that has most of them, or ("", {}).

        An upload without any part of ours may be one of another file, with another sha256 in its metadata.
        """
        best: tuple[str, dict[int, str]] = ("", {})
        # Without the right to list, everything is sent again: slower, not less safe.
        with suppress(StoreRefused):
            for upload_id in self._uploads():
                with suppress(Vanished):
                    parts = self._parts(upload_id)
                    if len(parts) > len(best[1]):
                        best = (upload_id, parts)
        return best

    def _uploads(self) -> list[str]:
        found, key_marker, id_marker = [], "", ""
        while True:
            with self._client.answering("oss:ListMultipartUploads"):
                page = self._client.bucket.list_multipart_uploads(
                    prefix=self._name, key_marker=key_marker, upload_id_marker=id_marker
                )
            found += [(one.initiation_date, one.upload_id) for one in page.upload_list if one.key == self._name]
            marker = (page.next_key_marker, page.next_upload_id_marker)
            # Keys are listed in order, and this is the first with its own name as prefix.
            if not page.is_truncated or marker <= (key_marker, id_marker) or page.next_key_marker > self._name:
                return [upload_id for _, upload_id in sorted(found)[-LOOK_AT:]]
            key_marker, id_marker = marker

    def _parts(self, upload_id: str) -> dict[int, str]:
        found: dict[int, str] = {}
        marker = ""
        while True:
            with self._client.answering("oss:ListParts"):
                page = self._client.bucket.list_parts(self._name, upload_id, marker=marker)
            for part in page.parts:
                if self._measured.is_part(part.part_number, part.etag, part.size):
                    found[part.part_number] = part.etag
            if not page.is_truncated or page.next_marker == marker:
                return found
            marker = page.next_marker
