"""A store in a folder: what a developer's machine has, and what the viewer keeps its objects in."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from diag.errors import (
    BadSetting,
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
)
from diag.model import valid_name
from diag.upload.pace import Pace
from diag.upload.store import StoredObject

CHUNK = 1024 * 1024
_PART = ".put-"
# linux/fs.h, FS_IOC_GETFLAGS and FS_IMMUTABLE_FL | FS_APPEND_FL: what `chattr +i` and `chattr +a` set.
_GET_FLAGS, _UNREMOVABLE = 0x80086601, 0x10 | 0x20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalStore:
    """Objects as files under one folder, `file:///folder`. Folders are 0700 and files 0600."""

    at_once = 1  # a disk gains nothing by more
    clock_ahead_s = 0.0

    def __init__(self, url: str, token: str = "", pace: Pace | None = None) -> None:
        parts = urlsplit(url)
        usable = parts.netloc in ("", "localhost") and parts.path.startswith("/") and "%00" not in parts.path
        if not usable or parts.query or parts.fragment:
            raise BadSetting(f"The store {url!r} is no folder of this machine.", "Three slashes: file:///var/lib/diag")
        self.url = url
        # Names that are no UTF-8 are written by Path.as_uri() as their bytes.
        self.root = Path(unquote(parts.path, errors="surrogateescape"))

    def put(self, key: str, source: Path, *, size_bytes: int, sha256: str, content_type: str) -> None:
        """Store the file whole or not at all, durably; see Store.put."""
        path = self._path(key)
        with _failing(path):
            for _ in range(5):
                self._make_folders(path.parent)
                with suppress(FileNotFoundError):  # somebody deleted the last object beside it, and the folder with it
                    self._put(path, source, size_bytes, sha256)
                    return
            raise StoreRejected(f"{source} is gone." if not source.exists() else f"{path.parent} does not stay.", "")

    def open(self, key: str) -> BinaryIO:
        """The object's bytes; see Store.open."""
        path = self._path(key)
        with _failing(path):
            if path.is_file():
                with suppress(FileNotFoundError):  # removed this moment
                    return path.open("rb")
            raise NoSuchObject(f"{self.url} has no {key}.")

    def stat(self, key: str) -> StoredObject | None:
        """The object's size, or None."""
        path = self._path(key)
        with _failing(path):
            if path.is_file():
                with suppress(FileNotFoundError):
                    return StoredObject(key, path.stat().st_size)
            return None

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """All objects under the prefix after a key, in key order."""
        with _failing(self.root):
            yield from self._walk(self.root, "", prefix, start_after)

    def folders(self, prefix: str) -> list[str]:
        """The next path parts under a prefix that ends with `/`."""
        path = self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self.root
        with _failing(path):
            return [name for name, is_folder in _entries(path) if is_folder]

    def delete(self, key: str) -> None:
        """Remove the object, and folders that it leaves empty: they exist only because of their objects."""
        path = self._path(key)
        with _failing(path):
            path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                _sync(path.parent)
            for folder in path.relative_to(self.root).parents:
                try:
                    (self.root / folder).rmdir()
                except OSError:
                    return

    def held(self, keys: Sequence[str]) -> str:
        """Names the first file or folder that `chattr` has made immutable or append-only."""
        for key in keys:
            path = self._path(key)
            with _failing(path):
                if any(_unremovable(one) for one in (path, path.parent)):
                    return f"{key} is immutable (chattr), until that is taken back"
        return ""

    def check(self) -> None:
        """Raise what a `put` would raise now."""
        part = self.root / f"{_PART}{secrets.token_hex(8)}"
        with _failing(self.root):
            self._make_folders(self.root)
            try:
                part.touch(0o600)
            finally:
                part.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        """The file of a key. Keys come from outside: each part has to be a plain name, so none leads out."""
        if not all(valid_name(part) for part in key.split("/")):
            raise StoreError(f"{key!r} is no key.", "Keys are names with `/` between them.")
        return self.root.joinpath(key)

    def _put(self, path: Path, source: Path, size_bytes: int, sha256: str) -> None:
        _remove_abandoned(path)
        if path.is_file():
            _compare(path, size_bytes, sha256)
            return
        part = path.with_name(f"{_PART}{path.name}-{secrets.token_hex(8)}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _copy(source, descriptor) != (size_bytes, sha256):
                raise StoreRejected(
                    f"{source} is not the file of {size_bytes} bytes that was announced for {path.name}."
                )
            os.fsync(descriptor)
            _name(part, path, size_bytes, sha256)
        finally:
            part.unlink(missing_ok=True)
            os.close(descriptor)
        _sync(path.parent)

    def _make_folders(self, folder: Path) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            _sync(one.parent)

    def _walk(self, folder: Path, above: str, prefix: str, start_after: str) -> Iterator[StoredObject]:
        for name, is_folder in _entries(folder):
            key = above + name
            if not is_folder:
                if key.startswith(prefix) and key > start_after:
                    with suppress(FileNotFoundError):
                        yield StoredObject(key, (folder / name).stat().st_size)
            elif (key.startswith(prefix) or prefix.startswith(key)) and (
                key > start_after or start_after.startswith(key)
            ):
                yield from self._walk(folder / name, key, prefix, start_after)


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) in key order: a folder's name ends with `/`, which sorts behind `-` and `.`."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.is_dir(), entry.is_file()) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        (f"{name}/" if is_folder else name, is_folder)
        for name, is_folder, is_file in entries
        if (is_folder or is_file) and valid_name(name)
    )


def _compare(path: Path, size_bytes: int, sha256: str) -> None:
    with path.open("rb") as file:
        if path.stat().st_size == size_bytes and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
            return
    raise StoreConflict(
        f"{path} exists already with other bytes.", "Objects are never replaced: send it as a new capture."
    )


def _copy(source: Path, descriptor: int) -> tuple[int, str]:
    found, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
            left = memoryview(chunk)
            while left:
                left = left[os.write(descriptor, left) :]
    return size, found.hexdigest()


def _name(part: Path, path: Path, size_bytes: int, sha256: str) -> None:
    """Give the whole file its name, unless somebody was faster."""
    try:
        os.link(part, path)
    except FileExistsError:
        _compare(path, size_bytes, sha256)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        part.rename(path)  # a file system without hard links; the second of two writers wins with the same bytes


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of the same object left; a living one holds its file's flock."""
    for part in path.parent.glob(f"{_PART}{path.name}-*"):
        with suppress(OSError):
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(descriptor)


def _unremovable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        (flags,) = struct.unpack_from("i", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))
    except OSError:
        return False  # a file system without such flags
    finally:
        os.close(descriptor)
    return bool(flags & _UNREMOVABLE)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turn an OSError into what the Store protocol raises."""
    try:
        yield
    except OSError as error:
        sentence = f"The store cannot use {error.filename or path}: {error.strerror or error}."
        if isinstance(error, PermissionError):
            raise StoreRefused(sentence, "Give this user the folder, or point DIAG_STORE at another.") from error
        raise StoreUnreachable(
            sentence, "Captures wait in the spool; free space, or point DIAG_STORE elsewhere."
        ) from error
