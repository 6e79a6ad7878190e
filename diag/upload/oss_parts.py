"""Large objects in parts. What is there already is asked of the server, so that a restart needs no notes of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from diag.errors import StoreRefused, StoreUnreachable
from diag.upload.oss_errors import AlreadyThere, Damaged, Vanished
from diag.upload.parallel import in_parallel
from diag.upload.window import Window

if TYPE_CHECKING:
    from diag.upload.oss_client import Client

MIB = 1024 * 1024
CHUNK = 256 * 1024
PART, PARTS_MOST = 8 * MIB, 10_000
IN_PARTS_ABOVE = 2 * PART
PARTS_AT_ONCE = 3
ATTEMPTS = 3
LOOK_AT = 10  # unfinished uploads of one key, the newest


@dataclass(slots=True)
class Content:
    """A file to store: its size and sha256 (hex), and its MD5 where it goes in one piece."""

    file: BinaryIO
    size_bytes: int
    sha256: str
    md5: bytes
    part_bytes: int
    crc64: int | None = None  # once it was calculated

    @property
    def parts(self) -> range:
        """The numbers of its parts, from 1 on."""
        return range(1, max(1, -(-self.size_bytes // self.part_bytes)) + 1)

    def span(self, number: int) -> tuple[int, int]:
        """Where a part starts, and how long it is."""
        start = (number - 1) * self.part_bytes
        return start, min(self.part_bytes, self.size_bytes - start)

    def chunks(self, start: int, size_bytes: int) -> Iterator[bytes]:
        """These bytes, a chunk at a time."""
        window = Window(self.file, start, size_bytes)
        while chunk := window.read(CHUNK):
            yield chunk

    def checksum(self, client: Client) -> int:
        """CRC-64 of all of it."""
        if self.crc64 is None:
            crc64 = client.crc64()
            for chunk in self.chunks(0, self.size_bytes):
                crc64(chunk)
            self.crc64 = int(crc64.crc)
        return self.crc64


def measure(file: BinaryIO, size_bytes: int) -> Content:
    """Read the file once, in chunks. The length of parts depends on `size_bytes` alone: a restart cuts alike."""
    part_bytes = PART
    while part_bytes * PARTS_MOST < size_bytes:
        part_bytes *= 2
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        size += len(chunk)
        if size_bytes <= IN_PARTS_ABOVE:
            md5.update(chunk)
    return Content(file, size, sha256.hexdigest(), md5.digest(), part_bytes)


def put_in_parts(
    client: Client,
    name: str,
    content: Content,
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
            _Upload(client, name, content).run(headers)
    if not is_there():
        raise StoreUnreachable(f"{client.place.url} forgets the parts of {name} again and again.")


class _Upload:
    def __init__(self, client: Client, name: str, content: Content) -> None:
        self._client, self._name, self._content = client, name, content
        self._read: dict[int, tuple[str, int]] = {}

    def run(self, headers: Mapping[str, str]) -> None:
        upload_id, there = self._unfinished()
        ours = not upload_id
        if ours:
            with self._client.answering("oss:PutObject"):
                begun = self._client.bucket.init_multipart_upload(self._name, headers=dict(headers))
            upload_id = begun.upload_id
        sent = in_parallel(lambda number: self._part(upload_id, number, there), self._content.parts, PARTS_AT_ONCE)
        parts = sorted((part for some in sent for part in some), key=lambda part: part.part_number)
        try:
            with self._client.answering("oss:PutObject"):
                # oss2 combines the parts' checksums and compares them with the server's of the whole.
                answer = self._client.bucket.complete_multipart_upload(
                    self._name, upload_id, parts, headers={"x-oss-forbid-overwrite": "true"}
                )
        except AlreadyThere:
            if ours:  # what others began may be at work
                with suppress(StoreRefused, Vanished), self._client.answering("oss:AbortMultipartUpload"):
                    self._client.bucket.abort_multipart_upload(self._name, upload_id)
            raise
        if all(part.part_crc for part in parts):
            self._content.crc64 = answer.crc

    def _part(self, upload_id: str, number: int, there: Mapping[int, str]) -> Any:
        start, size = self._content.span(number)
        if number in there:
            return self._client.part(number, there[number], size, self._digests(number)[1])
        try:
            with self._client.answering("oss:PutObject"):
                window = Window(self._content.file, start, size)
                answer = self._client.bucket.upload_part(self._name, upload_id, number, window)
        except Damaged as error:  # a part only, which the next attempt sends again
            raise StoreUnreachable(str(error)) from error
        return self._client.part(number, answer.etag, size, answer.crc)

    def _digests(self, number: int) -> tuple[str, int]:
        """(MD5, CRC-64) of one of the file's parts; calculated only for parts that the server has."""
        if number not in self._read:
            md5, crc64 = hashlib.md5(usedforsecurity=False), self._client.crc64()
            for chunk in self._content.chunks(*self._content.span(number)):
                md5.update(chunk)
                crc64(chunk)
            self._read[number] = (md5.hexdigest(), int(crc64.crc))
        return self._read[number]

    def _is_ours(self, part: Any) -> bool:
        """Whether a part that the server lists has this file's bytes."""
        number = part.part_number
        known = number in self._content.parts and part.size == self._content.span(number)[1]
        return known and part.etag.lower() == self._digests(number)[0]

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
                if self._is_ours(part):
                    found[part.part_number] = part.etag
            if not page.is_truncated or page.next_marker == marker:
                return found
            marker = page.next_marker
