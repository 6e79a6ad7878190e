"""Files that survive a power cut, or say that they could not be written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from diag.errors import CorruptCapture, SpoolUnwritable
from diag.model import valid_id

CHUNK = 1024 * 1024
BLOCK = 4096
PART = ".part-"
DISK_FULL = "disk full"
LOCK_LIMIT_S = 10.0
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class NoRoom(SpoolUnwritable):
    """The spool's own limits do not let it take more; `reason` is what the loss is counted under."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: SpoolUnwritable) -> str:
    """What a loss is counted under."""
    if isinstance(error, NoRoom):
        return error.reason
    full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
    return DISK_FULL if full else "unwritable"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any OSError into SpoolUnwritable that names the path."""
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else path
        raise SpoolUnwritable(f"The spool cannot write {named}: {error.strerror or error}.") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The spool-wide lock, for sections that are short. Raises SpoolUnwritable where somebody sits on it.

    A spool that only can be read is read without: nobody can change it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield
        return
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_LIMIT_S
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            raise SpoolUnwritable(
                f"Another diag has held {path} for {LOCK_LIMIT_S:.0f} seconds.",
                f"`fuser {path}` names it; it may be stopped or hang.",
            )
        time.sleep(0.005)


def try_lock(descriptor: int) -> bool:
    """Whether the exclusive flock was free; it is held until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_folder(path: Path) -> int:
    """A descriptor of the folder itself."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable: a rename without it may be lost, or leave an empty file."""
    descriptor = open_folder(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte: on a disk that fills up, a short write comes before the error."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def write_file(path: Path, content: bytes | Path) -> tuple[int, str]:
    """Write a new file, durably but for its name; the name appears when the file is whole.

    Returns size and SHA-256. Nothing is left behind where it fails. Raises OSError.
    """
    size, sha256 = write_part(path, content)
    part_of(path).rename(path)
    return size, sha256


def part_of(path: Path) -> Path:
    """The hidden file that becomes `path`."""
    return path.with_name(PART + path.name)


def write_part(path: Path, content: bytes | Path) -> tuple[int, str]:
    """The first half of `write_file`: all but the name."""
    return write_part_of(path, _chunks(content), len(content) if isinstance(content, bytes) else content.stat().st_size)


def write_part_of(path: Path, chunks: Iterable[bytes], expected: int = 0) -> tuple[int, str]:
    """The same from chunks; blocks for the expected size are taken in advance."""
    part = part_of(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size, sha256 = _fill(descriptor, chunks, expected)
        os.fsync(descriptor)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return size, sha256


def allocate(descriptor: int, size_bytes: int) -> None:
    """Take the blocks before they are written, so that a full disk says so at once. Raises OSError."""
    if size_bytes == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot
            raise


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


def _fill(descriptor: int, chunks: Iterable[bytes], expected: int) -> tuple[int, str]:
    allocate(descriptor, expected)
    found, size = hashlib.sha256(), 0
    for chunk in chunks:
        write_all(descriptor, chunk)
        found.update(chunk)
        size += len(chunk)
    if size != expected:  # the source changed while it was read
        os.ftruncate(descriptor, size)
    return size, found.hexdigest()


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises CorruptCapture for a link, a pipe or anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CorruptCapture(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptCapture(f"{path} is no plain file.")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, at_most: int = CHUNK) -> bytes:
    """What one of the spool's own files holds. Raises OSError for a link or a pipe, too, at which one would wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        return file.read(at_most)


def digest(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a plain file. Raises CorruptCapture."""
    found, size = hashlib.sha256(), 0
    with open_plain(path) as source:
        try:
            while chunk := source.read(CHUNK):
                found.update(chunk)
                size += len(chunk)
        except OSError as error:
            raise CorruptCapture(f"{path} cannot be read: {error.strerror}.") from error
    return size, found.hexdigest()


def names(folder: Path) -> list[str]:
    """The visible names in a folder, sorted; none where there is no such folder."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder; none where it cannot be listed. A link is no folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def folders(root: Path, state: str) -> list[Path]:
    """The folders in a state whose names are ids alone, oldest first."""
    return [root / state / name for name in sorted(subfolders(root / state)) if valid_id(name)]


def carry(folder: Path, target: Path) -> Path:
    """Move a folder, also one that somebody took the permissions of; returns where it is."""
    try:
        return folder.rename(target)
    except PermissionError:
        folder.chmod(0o700)
        return folder.rename(target)


def footprint(folder: Path) -> int:
    """What the folder takes on disk at most, itself included: whole blocks, hidden files too."""
    total = BLOCK
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += (
                    BLOCK if entry.is_dir(follow_symlinks=False) else blocks(entry.stat(follow_symlinks=False).st_size)
                )
    except (FileNotFoundError, PermissionError):
        return total
    return total


def blocks(size_bytes: int) -> int:
    """The size, rounded up to whole blocks."""
    return -(-size_bytes // BLOCK) * BLOCK
