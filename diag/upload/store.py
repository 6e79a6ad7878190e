"""The Store protocol: what an object store can do, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it.

    `sha256` is what the store keeps beside the object, where it has compared the bytes as they came, and `stat` asked.
    """

    key: str
    size_bytes: int
    sha256: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Announced:
    """An object that is to come: its size and sums, in hex. The MD5 is the only one that every store compares."""

    size_bytes: int
    sha256: str
    md5: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that whoever holds it may make until it expires. The URL is a secret for so long."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Store(Protocol):
    """Immutable objects under keys with `/` between their parts.

    Every method raises a subclass of StoreError: StoreUnreachable (try again), StoreRefused (credentials),
    NoSuchObject, StoreConflict, StoreHeld, or StoreError itself.
    """

    url: str
    at_once: int  # how many captures it takes at a time

    @property
    def clock_ahead_s(self) -> float:
        """How far this machine's clock is ahead of the store's, where requests had to be corrected for it; else 0."""
        ...

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

    def held(self, keys: Sequence[str]) -> str:
        """Why one of these objects may not be removed, and until when; empty where all may be."""
        ...

    def check(self) -> None:
        """Raise what a `put` would raise now, cheaply; used by doctor."""
        ...


@runtime_checkable
class Signing(Protocol):
    """What a store can do, beside the rest, whose server takes requests that were signed for somebody else."""

    def sign_put(self, key: str, announced: Announced, *, content_type: str, valid_s: int) -> SignedRequest | None:
        """What creates this object of these bytes, and can do nothing else; None where the server replaces objects."""
        ...

    def sign_get(self, key: str, *, content_type: str, valid_s: int) -> SignedRequest:
        """What fetches this object as a file to save."""
        ...
