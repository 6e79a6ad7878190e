"""Small objects that say something about a capture: that it is pinned, that it is being removed."""

from __future__ import annotations

from collections.abc import Iterator

from diag.errors import NoSuchObject
from diag.upload import keys, small
from diag.upload.store import Store

LIMIT = 16 * 1024 * 1024


def write(store: Store, tenant: str, kind: str, capture_id: str, content: bytes) -> None:
    """Store the note. Raises StoreConflict where another one of this kind is there, and what the store raises."""
    small.put(store, keys.note(tenant, kind, capture_id), content)


def read(store: Store, tenant: str, kind: str, capture_id: str) -> bytes | None:
    """The note's bytes, or None where there is none."""
    try:
        with store.open(keys.note(tenant, kind, capture_id)) as source:
            return source.read(LIMIT)
    except NoSuchObject:
        return None


def listed(store: Store, tenant: str, kind: str) -> Iterator[str]:
    """The ids of all captures with a note of this kind, oldest first."""
    for found in store.objects(keys.notes(tenant, kind)):
        if (parts := keys.parse_note(found.key)) is not None:
            yield parts[2]
