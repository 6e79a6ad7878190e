"""Small objects that say something about a capture: that it is pinned, that it is being removed."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diag.errors import NoSuchObject
from diag.upload import keys
from diag.upload.store import Store

LIMIT = 16 * 1024 * 1024


def write(store: Store, tenant: str, kind: str, capture_id: str, content: bytes) -> None:
    """Store the note. Raises StoreConflict where another one of this kind is there, and what the store raises."""
    sha256 = hashlib.sha256(content).hexdigest()
    with tempfile.NamedTemporaryFile(prefix="diag-note-") as file:
        file.write(content)
        file.flush()
        key = keys.note(tenant, kind, capture_id)
        store.put(key, Path(file.name), size_bytes=len(content), sha256=sha256, content_type="application/json")


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
