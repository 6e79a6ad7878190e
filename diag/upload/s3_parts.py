"""Large files in parts. After a restart the server is asked which parts it has, and only the others are sent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from diag.errors import StoreError, StoreRejected, StoreUnreachable
from diag.upload.parallel import in_parallel
from diag.upload.s3_client import Client, Expected
from diag.upload.s3_errors import stranger
from diag.upload.window import Window

MIB = 1024 * 1024
CHUNK = 64 * 1024
PARTS_ABOVE = 16 * MIB
PART = 8 * MIB
MOST_PARTS = 10_000  # S3's limit
PARTS_AT_ONCE = 3
ATTEMPTS = 3
LOST = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to stand in the bucket."""

    name: str
    size_bytes: int
    sha256: str
    content_type: str

    def headers(self) -> dict[str, Any]:
        """The parameters that an object is created with."""
        return {"ContentType": self.content_type, "Metadata": {"sha256": self.sha256}}

    @staticmethod
    def md5_base64(md5: str) -> str:
        """A sum as Content-MD5 has it."""
        return base64.b64encode(bytes.fromhex(md5)).decode()


class Sums:
    """A file's sums. It is read once, and as far as they are asked for: a part may leave before the next is read."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._windows = list(_windows(file, size_bytes)) if size_bytes > PARTS_ABOVE else [Window(file, 0, size_bytes)]
        self._whole = hashlib.sha256()
        self._parts: list[str] = []

    def __len__(self) -> int:
        return len(self._windows)

    def part(self, number: int) -> str:
        """The MD5 of a part, in hex; their numbers start with 1."""
        for window in self._windows[len(self._parts) : number]:
            md5 = hashlib.md5(usedforsecurity=False)
            while chunk := window.read(CHUNK):
                md5.update(chunk)
                self._whole.update(chunk)
            self._parts.append(md5.hexdigest())
        return self._parts[number - 1]

    @property
    def sha256(self) -> str:
        """Of all of it, in hex."""
        self.part(len(self))
        return self._whole.hexdigest()

    @property
    def tag(self) -> str:
        """The ETag that S3 gives it."""
        parts = [self.part(number) for number in range(1, len(self) + 1)]
        if self._size_bytes <= PARTS_ABOVE:
            return parts[0]
        joined = b"".join(map(bytes.fromhex, parts))
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def part_size(size_bytes: int) -> int:
    """How large the parts of a file are; the same on every machine, so that another can go on."""
    return max(PART, -(-size_bytes // (MOST_PARTS * MIB)) * MIB)


def compare(wanted: Wanted, file: BinaryIO, sums: Sums) -> None:
    """Raise StoreRejected where the file is not the one that was announced."""
    if sums.sha256 != wanted.sha256:
        raise StoreRejected(
            f"{file.name} is not the file of {wanted.size_bytes} bytes that was announced for {wanted.name}."
        )


def deliver(client: Client, wanted: Wanted, file: BinaryIO, sums: Sums) -> dict[str, Any] | None:
    """Send what the server does not have yet, and put it together; None where the key was taken meanwhile.

    Nothing is put together of a file that is not the one that was announced: then StoreRejected is raised.
    """
    for attempt in range(ATTEMPTS):
        with suppress(Expected):  # the server has dropped the upload, or parts of it: go on with what it has now
            return _deliver(client, wanted, file, sums, resume=attempt < ATTEMPTS - 1)
    raise StoreUnreachable(f"{client.address.url} keeps losing the parts of {wanted.name}.")


def abort(client: Client, name: str, upload_id: str) -> None:
    """Give up an upload of ours; what cannot be removed, the bucket's own rules remove."""
    with suppress(StoreError):
        client.ask("abort_multipart_upload", Key=name, UploadId=upload_id)


def _windows(file: BinaryIO, size_bytes: int) -> Iterator[Window]:
    size = part_size(size_bytes)
    for start in range(0, size_bytes, size):
        yield Window(file, start, min(size, size_bytes - start))


def _deliver(client: Client, wanted: Wanted, file: BinaryIO, sums: Sums, *, resume: bool) -> dict[str, Any] | None:
    found = _resumable(client, wanted, sums) if resume else None
    upload_id, etags = found or (_begin(client, wanted), {})

    def send(part: tuple[int, Window, str]) -> None:
        etags[part[0]] = _send(client, wanted, upload_id, *part)

    missing = ((n, window) for n, window in enumerate(_windows(file, wanted.size_bytes), 1) if n not in etags)
    # The sums of a part are taken when it is its turn, while those before it are on their way.
    for _ in in_parallel(send, ((n, window, sums.part(n)) for n, window in missing), PARTS_AT_ONCE):
        pass
    try:
        compare(wanted, file, sums)
    except StoreRejected:
        if not found:
            abort(client, wanted.name, upload_id)
        raise
    answer = client.create(
        "complete_multipart_upload",
        expecting=LOST,
        Key=wanted.name,
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]},
    )
    if answer is None and not found:
        abort(client, wanted.name, upload_id)
    return answer


def _begin(client: Client, wanted: Wanted) -> str:
    answer = client.ask("create_multipart_upload", Key=wanted.name, **wanted.headers())
    if not answer.get("UploadId"):
        raise stranger(client.address)
    return str(answer["UploadId"])


def _send(client: Client, wanted: Wanted, upload_id: str, number: int, window: Window, md5: str) -> str:
    """Send one part; returns its ETag, which is its MD5 unless the bucket is encrypted with keys of its own."""
    answer = client.ask(
        "upload_part",
        expecting=LOST,
        Key=wanted.name,
        UploadId=upload_id,
        PartNumber=number,
        Body=window,
        ContentMD5=wanted.md5_base64(md5),
    )
    if not answer.get("ETag"):
        raise stranger(client.address)
    return str(answer["ETag"])


def _resumable(client: Client, wanted: Wanted, sums: Sums) -> tuple[str, dict[int, str]] | None:
    """The upload of this file that has come furthest, and the ETags of its parts.

    One with a part that is not this file's is somebody else's, and is left alone; so is one without any part.
    """
    best: tuple[str, dict[int, str]] | None = None
    for upload_id in _uploads(client, wanted.name):
        with suppress(Expected):
            parts = _parts(client, wanted.name, upload_id)
            ours = all(_matches(wanted, sums, *part) for part in parts)
            if ours and len(parts) > (len(best[1]) if best else 0):
                best = upload_id, {number: etag for number, _, etag in parts}
    return best


def _matches(wanted: Wanted, sums: Sums, number: int, size: int, etag: str) -> bool:
    if not 1 <= number <= len(sums):
        return False
    full = part_size(wanted.size_bytes)
    length = min(full, wanted.size_bytes - (number - 1) * full)
    return size == length and etag.strip('"').lower() == sums.part(number)


def _uploads(client: Client, name: str) -> list[str]:
    """The unfinished uploads of exactly this key; none where the server does not list them, or not to us."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        try:
            page = client.ask("list_multipart_uploads", expecting=(403, 405, 501), Prefix=name, **after)
        except Expected:
            return found
        found += [str(one["UploadId"]) for one in page.get("Uploads") or () if one["Key"] == name]
        before, after = after, _markers(page, KeyMarker="NextKeyMarker", UploadIdMarker="NextUploadIdMarker")
        if not page.get("IsTruncated") or after == before:
            return found


def _parts(client: Client, name: str, upload_id: str) -> list[tuple[int, int, str]]:
    """(number, size, ETag) of the parts that the server has. Raises Expected where it knows no such upload."""
    found: list[tuple[int, int, str]] = []
    after: dict[str, Any] = {}
    while True:
        page = client.ask("list_parts", expecting=(*LOST, 403), Key=name, UploadId=upload_id, **after)
        found += [(int(one["PartNumber"]), int(one["Size"]), str(one["ETag"])) for one in page.get("Parts") or ()]
        before, after = after, _markers(page, PartNumberMarker="NextPartNumberMarker")
        if not page.get("IsTruncated") or after == before:
            return found


def _markers(page: dict[str, Any], **names: str) -> dict[str, Any]:
    """Where the next page of a listing begins."""
    return {parameter: page[name] for parameter, name in names.items() if page.get(name)}
