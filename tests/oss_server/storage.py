"""Buckets on disk: objects, and multipart uploads that are not done. A restart finds all of it again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import crcmod

from oss_server.problem import Problem

# https://www.alibabacloud.com/help/en/oss/developer-reference/use-crc-64-to-check-data-integrity: ECMA-182
POLYNOMIAL = 0x142F0E1EBA9EA3693
SMALLEST_PART = 100 * 1024


@dataclass
class Stored:
    """The bytes in a file of ours and what is known of them. `headers` are the client's."""

    key: str
    file: str
    size: int
    etag: str
    crc64: int
    modified: float
    kind: str = "Normal"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    """A multipart upload that is not done."""

    key: str
    upload_id: str
    headers: dict[str, str]
    begun: float
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(frozen=True)
class Worm:
    """A retention policy of a bucket. It protects before it is locked, too."""

    days: int
    state: str = "Locked"

    def protects(self, one: Stored) -> bool:
        """Whether the object may be neither removed nor replaced yet."""
        return self.state in ("InProgress", "Locked") and time.time() < one.modified + self.days * 86400


def new_crc(start: int = 0) -> crcmod.Crc:
    """A running CRC-64."""
    return crcmod.Crc(POLYNOMIAL, initCrc=start, rev=True, xorOut=0xFFFFFFFFFFFFFFFF)


class Bucket:
    """One bucket in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.worm: Worm | None = None
        for name in ("objects", "uploads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for path in (folder / "objects").glob("*.json"):
            one = Stored(**json.loads(path.read_text()))
            self.objects[one.key] = one
        for path in (folder / "uploads").glob("*/upload.json"):
            upload = Upload(**json.loads(path.read_text()))
            for part in path.parent.glob("part-*.json"):
                upload.parts[int(part.stem.removeprefix("part-"))] = Stored(**json.loads(part.read_text()))
            self.uploads[upload.upload_id] = upload

    def receive(self, key: str, body: Iterable[bytes], content_md5: str) -> Stored:
        """Write a body to disk; it is nothing yet. Raises Problem where it is not what Content-MD5 says."""
        file = secrets.token_hex(16)
        md5, crc, size = hashlib.md5(usedforsecurity=False), new_crc(), 0
        with self.path(file).open("wb") as out:
            for chunk in body:
                md5.update(chunk)
                crc.update(chunk)
                size += len(chunk)
                out.write(chunk)
        if content_md5 and _decoded(content_md5) != md5.digest():
            self.path(file).unlink()
            raise Problem(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        return Stored(key, file, size, md5.hexdigest().upper(), crc.crcValue, time.time())

    def publish(self, one: Stored, forbid_overwrite: bool) -> Stored:
        """Make it the object of its key. Raises Problem."""
        with self._lock:
            self.check_free(one.key, forbid_overwrite)
            old = self.objects.get(one.key)
            self._check_worm(old)
            self._write(self._meta(one.key), one)
            self.objects[one.key] = one
            if old and old.file != one.file:
                self.path(old.file).unlink(missing_ok=True)
        return one

    def check_free(self, key: str, forbid_overwrite: bool) -> None:
        """Raises Problem where x-oss-forbid-overwrite forbids it."""
        if forbid_overwrite and key in self.objects:
            message = "The object you specified already exists and can not be overwritten."
            raise Problem(409, "FileAlreadyExists", message, {"EC": "0026-00000012"})

    def get(self, key: str) -> Stored:
        """The object. Raises Problem."""
        with self._lock:
            if key not in self.objects:
                raise Problem(404, "NoSuchKey", "The specified key does not exist.", {"EC": "0026-00000001"})
            return self.objects[key]

    def delete(self, key: str) -> None:
        """Remove the object, if it is there. Raises Problem."""
        with self._lock:
            self._check_worm(self.objects.get(key))
            old = self.objects.pop(key, None)
            if old:
                self._meta(key).unlink(missing_ok=True)
                self.path(old.file).unlink(missing_ok=True)

    def append(self, new: Stored, position: int) -> Stored:
        """Add to an appendable object. Raises Problem."""
        with self._lock:
            old = self.objects.get(new.key)
            size = old.size if old else 0
            if old and old.kind != "Appendable":
                raise Problem(409, "ObjectNotAppendable", "The object is not appendable")
            if position != size:
                told = {"x-oss-next-append-position": str(size), "x-oss-hash-crc64ecma": str(old.crc64 if old else 0)}
                raise Problem(409, "PositionNotEqualToLength", "Position is not equal to file length", headers=told)
            new.kind = "Appendable"
            if old is None:
                return self.publish(new, False)
            content = self.path(new.file).read_bytes()
            with self.path(old.file).open("ab") as out:
                out.write(content)
            self.path(new.file).unlink()
            crc = new_crc(old.crc64)
            crc.update(content)
            old.size, old.crc64, old.modified = size + len(content), crc.crcValue, time.time()
            return self.publish(old, False)

    def begin(self, key: str, headers: dict[str, str]) -> Upload:
        """Begin a multipart upload."""
        upload = Upload(key, secrets.token_hex(16).upper(), headers, time.time())
        with self._lock:
            self._upload_folder(upload.upload_id).mkdir()
            self._write(self._upload_folder(upload.upload_id) / "upload.json", upload)
            self.uploads[upload.upload_id] = upload
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        """An upload of this key. Raises Problem."""
        with self._lock:
            found = self.uploads.get(upload_id)
            if found is None or found.key != key:
                raise Problem(404, "NoSuchUpload", "The specified upload does not exist.", {"EC": "0042-00000002"})
            return found

    def add_part(self, upload: Upload, number: int, part: Stored) -> None:
        """Add or replace a part."""
        with self._lock:
            self.upload(upload.key, upload.upload_id)
            self._write(self._upload_folder(upload.upload_id) / f"part-{number}.json", part)
            old = upload.parts.get(number)
            upload.parts[number] = part
            if old:
                self.path(old.file).unlink(missing_ok=True)

    def complete(self, upload: Upload, wanted: list[tuple[int, str]], forbid_overwrite: bool) -> Stored:
        """Make the object of these (number, ETag). Raises Problem."""
        with self._lock:
            self.upload(upload.key, upload.upload_id)
            parts = []
            for number, etag in wanted:
                part = upload.parts.get(number)
                if part is None or part.etag != etag.strip('"').upper():
                    raise Problem(400, "InvalidPart", "One or more of the specified parts could not be found.")
                parts.append(part)
            if [number for number, _ in wanted] != sorted({number for number, _ in wanted}) or not wanted:
                raise Problem(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            if any(part.size < SMALLEST_PART for part in parts[:-1]):
                raise Problem(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.")
            self.check_free(upload.key, forbid_overwrite)
            whole = self.receive(upload.key, self._content(parts), "")
            digest = hashlib.md5("".join(part.etag for part in parts).encode(), usedforsecurity=False).hexdigest()
            whole.etag, whole.kind, whole.headers = f"{digest.upper()}-{len(parts)}", "Multipart", upload.headers
            self.publish(whole, forbid_overwrite)
            self.abort(upload)
            return whole

    def abort(self, upload: Upload) -> None:
        """Forget the upload and its parts."""
        with self._lock:
            self.uploads.pop(upload.upload_id, None)
            for part in upload.parts.values():
                self.path(part.file).unlink(missing_ok=True)
            folder = self._upload_folder(upload.upload_id)
            for path in folder.iterdir() if folder.is_dir() else ():
                path.unlink(missing_ok=True)
            folder.rmdir()

    def sorted_keys(self) -> list[str]:
        """All keys, in the order of their bytes."""
        with self._lock:
            return sorted(self.objects, key=str.encode)

    def path(self, file: str) -> Path:
        """Where the bytes are."""
        return self._folder / "objects" / file

    def _check_worm(self, one: Stored | None) -> None:
        if self.worm and one and self.worm.protects(one):
            raise Problem(409, "FileImmutable", "The object you specified is immutable.")

    def _content(self, parts: list[Stored]) -> Iterable[bytes]:
        for part in parts:
            with self.path(part.file).open("rb") as file:
                while chunk := file.read(1024 * 1024):
                    yield chunk

    def _meta(self, key: str) -> Path:
        return self.path(hashlib.sha256(key.encode()).hexdigest() + ".json")

    def _upload_folder(self, upload_id: str) -> Path:
        return self._folder / "uploads" / upload_id

    def _write(self, path: Path, one: Stored | Upload) -> None:
        said = {name: value for name, value in asdict(one).items() if name != "parts"}
        path.write_text(json.dumps(said))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Problem(400, "InvalidDigest", "The Content-MD5 you specified is not valid.") from None
