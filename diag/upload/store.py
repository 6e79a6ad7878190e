"""The Store protocol: what an object store can do, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it."""

    key: str
    size_bytes: int


class Store(Protocol):
    """Immutable objects under keys with `/` between their parts.

    Every method raises a subclass of StoreError: StoreUnreachable (try again), StoreRefused (credentials),
    NoSuchObject, StoreConflict, or StoreError itself.
    """

    url: str

    def put(self, key: str, source: Path, *, size_bytes: int, sha256: str, content_type: str) -> None:
        """Store the file whole or not at all, verified against `size_bytes` and `sha256` (hex).

        Create-only: the same bytes again do nothing, other bytes under the same key raise StoreConflict.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, for reading; the caller closes it."""
        ...

    def stat(self, key: str) -> StoredObject | None:
        """The object's size, or None where there is no such key."""
        ...

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """All objects under the prefix whose key sorts after `start_after`, in key order."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """The next path parts under a prefix that ends with `/`, sorted, each ending with `/` (a delimiter listing)."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; removing what is not there does nothing."""
        ...

    def check(self) -> None:
        """Raise what a `put` would raise now, cheaply; used by doctor."""
        ...
