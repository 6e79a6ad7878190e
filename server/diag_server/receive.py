"""Taking an upload in: streamed to a file, counted and hashed on the way, never held in memory."""

from __future__ import annotations

import errno
import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from diag.errors import StoreConflict, StoreError
from diag.model import Capture
from diag.upload import keys
from diag.upload.store import Store, StoredObject
from diag_server.errors import BadManifest, BadUpload, DiskFull, LengthMissing, TooLarge

CHUNK = 256 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Readable(Protocol):
    """What an upload's bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that arrived whole."""

    path: Path
    size_bytes: int
    sha256: str


@contextmanager
def receive(
    body: Readable, length: int | None, announced: str | None, limit: int, folder: Path | None
) -> Iterator[Received]:
    """The body as a file while the context lasts.

    Raises LengthMissing, TooLarge, BadUpload, DiskFull.
    """
    if length is None:
        raise LengthMissing("The upload does not say how long it is.")
    if length > limit:
        raise TooLarge(f"The upload has {length} bytes, at most {limit} are taken.", "Send a smaller file.")
    if announced is None or not _SHA256.fullmatch(announced.lower()):
        raise BadUpload("X-Diag-Sha256 is missing or is no SHA-256 in hex.")
    with no_room():
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="put-", dir=folder) as file:
            size, sha256 = _copy(body, file, length)
            if size != length:
                raise BadUpload(f"The upload ended after {size} of {length} bytes.")
            if sha256 != announced.lower():
                raise BadUpload(f"The upload has the SHA-256 {sha256}, it announced {announced}.")
            yield Received(Path(file.name), size, sha256)


@contextmanager
def no_room() -> Iterator[None]:
    """Turn a full disk into DiskFull, our own and the store's."""
    try:
        yield
    except (OSError, StoreError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left for the upload.") from error
        raise


def check_artifacts(store: Store, tenant: str, capture: Capture) -> None:
    """Raise BadManifest unless every artifact that the manifest names is in the store, byte for byte."""
    for artifact in capture.artifacts:
        key = keys.key(tenant, capture.capture_id, artifact.name)
        found = store.stat(key)
        if found is None:
            raise BadManifest(f"The manifest names {artifact.name}, which has not been uploaded.")
        if found.size_bytes != artifact.size_bytes:
            raise BadManifest(f"{artifact.name} has {found.size_bytes} bytes, the manifest says {artifact.size_bytes}.")
        sha256 = sha256_of(store, found)
        if sha256 != artifact.sha256:
            raise BadManifest(f"{artifact.name} has the SHA-256 {sha256}, the manifest says {artifact.sha256}.")


def put_once(store: Store, key: str, received: Received, content_type: str) -> bool:
    """Store what was received; False where the same bytes were there already. Raises StoreConflict."""
    there = store.stat(key)
    try:
        store.put(key, received.path, size_bytes=received.size_bytes, sha256=received.sha256, content_type=content_type)
    except StoreConflict as error:
        raise StoreConflict(
            f"{key} is there already with other bytes.", "Objects are never replaced: send it as a new capture."
        ) from error
    return there is None


def sha256_of(store: Store, found: StoredObject) -> str:
    """The object's sum: what the store keeps of it, else by reading it back."""
    if found.sha256:
        return found.sha256
    read = hashlib.sha256()
    with store.open(found.key) as source:
        while chunk := source.read(CHUNK):
            read.update(chunk)
    return read.hexdigest()


def _next(body: Readable, size: int) -> bytes:
    """The next bytes; none where the sender is gone, or has stood still for too long."""
    try:
        return body.read(size)
    except (ConnectionError, TimeoutError, BlockingIOError):
        return b""


def _copy(body: Readable, file: IO[bytes], length: int) -> tuple[int, str]:
    size, found = 0, hashlib.sha256()
    while size < length and (chunk := _next(body, min(CHUNK, length - size))):
        file.write(chunk)
        found.update(chunk)
        size += len(chunk)
    file.flush()
    return size, found.hexdigest()
