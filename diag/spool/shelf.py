"""A folder that holds a million captures, by age: `<first 8 digits of the id>/<entry>/`.

The first 8 hexadecimal digits of a UUIDv7 are its time in steps of 65.5 s (RFC 9562, section 5.7): so a bucket stays
small, buckets sort by age, and an id tells its bucket. What order and eviction need to know stands in the entry's name,
`<id>.<blocks>.<likeness>` in hexadecimal, so that a listing tells it and no manifest is read.

What has no such name, or is no folder itself, is not ours: it is left alone and does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from diag.model import ID_PATTERN, valid_id
from diag.spool.files import BLOCK, carry, subfolders, sync_folder

BUCKET_DIGITS = 8
ID_LENGTH = 36
_BUCKET = re.compile(f"[0-9a-f]{{{BUCKET_DIGITS}}}")
_ENTRY = re.compile(ID_PATTERN + r"\.[0-9a-f]{1,8}\.[0-9a-f]{8}")


class Entry(NamedTuple):
    """What the name of a capture's folder says. Captures of one `likeness` are repeats of each other."""

    capture_id: str
    size_bytes: int
    likeness: int

    @classmethod
    def of(cls, name: str) -> Entry:
        """What the name of an entry says."""
        return cls(name[:ID_LENGTH], int(name[ID_LENGTH + 1 : -9], 16) * BLOCK, int(name[-8:], 16))

    @property
    def name(self) -> str:
        """The name that says this. Names sort by age as ids do."""
        return f"{self.capture_id}.{-(-self.size_bytes // BLOCK):x}.{self.likeness:08x}"


def id_of(folder: Path) -> str:
    """The id of the capture in a folder of the spool, whatever state it is in."""
    return folder.name.partition(".")[0]


class Shelf:
    """One such folder. Whoever changes it holds the spool's lock; who only looks sees it change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def buckets(self) -> list[str]:
        """Oldest first."""
        return sorted(name for name in subfolders(self.folder) if _BUCKET.fullmatch(name))

    def entries(self, bucket: str) -> list[str]:
        """The names in a bucket, oldest first; none where it is gone."""
        found = subfolders(self.folder / bucket)
        return sorted([name for name in found if name.startswith(bucket) and _ENTRY.fullmatch(name)])

    def path(self, name: str) -> Path:
        """Where the entry of this name stands."""
        return self.folder / name[:BUCKET_DIGITS] / name

    def walk(self, newest_first: bool = False) -> Iterator[str]:
        """The names of all, oldest first. At each moment one bucket is in memory."""
        step = -1 if newest_first else 1
        for bucket in self.buckets()[::step]:
            yield from self.entries(bucket)[::step]

    def starting_with(self, prefix: str) -> Iterator[Path]:
        """The folders of the captures whose ids start like this."""
        for bucket in self.buckets():
            if bucket.startswith(prefix[:BUCKET_DIGITS]):
                yield from (self.path(name) for name in self.entries(bucket) if name.startswith(prefix))

    def find(self, capture_ids: Iterable[str]) -> Iterator[Path]:
        """The folders of those ids that are here; each bucket is listed once."""
        wanted: dict[str, set[str]] = {}
        for capture_id in capture_ids:
            if valid_id(capture_id):
                wanted.setdefault(capture_id[:BUCKET_DIGITS], set()).add(capture_id)
        for bucket, ids in wanted.items():
            found = [name for name in subfolders(self.folder / bucket) if name[:ID_LENGTH] in ids]
            yield from (self.path(name) for name in found if _ENTRY.fullmatch(name))

    def take_in(self, folder: Path, name: str) -> Path:
        """Move a folder here, durably; returns where it is."""
        target = self.path(name)
        try:
            target.parent.mkdir(mode=0o700)
            sync_folder(self.folder)
        except FileExistsError:
            pass
        moved = carry(folder, target)
        sync_folder(moved.parent)
        sync_folder(folder.parent)
        leave(folder.parent)
        return moved

    def sweep(self) -> None:
        """Remove the empty buckets that a killed process left."""
        for bucket in self.buckets():
            leave(self.folder / bucket)


def leave(bucket: Path) -> None:
    """Remove the bucket where nothing is left in it. Other folders are left alone."""
    if _BUCKET.fullmatch(bucket.name):
        with suppress(OSError):  # something is in it
            os.rmdir(bucket)  # noqa: PTH106  as everything that changes a disk here, so that a test can stop before it
