"""Taking a capture out of a store: whole and listed before, gone from both after, whoever is killed between.

A tombstone is written, the manifest goes (from here on no reader has the capture), the artifacts go, the tombstone
goes. What a tombstone names is finished by the next run. An agent may deliver the same capture meanwhile: it puts the
manifest last and then looks whether everything is there, and we look for a manifest last. So one of the two sees the
other: either the agent starts anew, or we do.
"""

from __future__ import annotations

from contextlib import suppress

from diag.errors import StoreConflict, StoreError, StoreHeld
from diag.upload import keys, notes
from diag.upload.store import Store

ROUNDS = 10


def held(store: Store, tenant: str, capture_id: str) -> str:
    """Why the store has to keep one of the capture's objects; empty where all of it may go."""
    return store.held([one.key for one in store.objects(keys.prefix(tenant, capture_id))])


def remove(store: Store, tenant: str, capture_id: str, manifest: bytes) -> None:
    """Remove a capture that nothing holds; `manifest` is its own bytes, so that two who remove it write one tombstone.

    Raises StoreHeld where the store holds it after all, and what else the store raises; the next run finishes it then.
    """
    with suppress(StoreConflict):  # one of an earlier removal that has to stay; the key is what counts
        notes.write(store, tenant, keys.DELETED, capture_id, manifest)
    try:
        _finish(store, tenant, capture_id)
    except StoreHeld:
        _take_back(store, tenant, capture_id)
        raise


def resume(store: Store, tenant: str, capture_id: str, *, pinned: bool) -> str:
    """Finish a removal that was broken off, or take it back; returns why it stays undone, empty where it is not.

    As long as the manifest is there nothing is lost, and a pin or a hold that came meanwhile is heeded.
    """
    why = held(store, tenant, capture_id)
    if (pinned or why) and _take_back(store, tenant, capture_id):
        return ""
    if not why:
        try:
            _finish(store, tenant, capture_id)
        except StoreHeld as error:
            return "" if _take_back(store, tenant, capture_id) else str(error)
    return why


def _take_back(store: Store, tenant: str, capture_id: str) -> bool:
    """Remove the tombstone where the manifest still stands; nothing else has gone then."""
    there = store.stat(keys.key(tenant, capture_id, keys.MANIFEST)) is not None
    if there:
        _forget(store, tenant, capture_id)
    return there


def _finish(store: Store, tenant: str, capture_id: str) -> None:
    manifest, prefix = keys.key(tenant, capture_id, keys.MANIFEST), keys.prefix(tenant, capture_id)
    for _ in range(ROUNDS):
        store.delete(manifest)
        for one in list(store.objects(prefix)):
            if one.key != manifest:
                store.delete(one.key)
        if store.stat(manifest) is None:
            _forget(store, tenant, capture_id)
            return
    raise StoreError(f"{capture_id} is delivered again and again while it is removed.", "Run `diag prune` again later.")


def _forget(store: Store, tenant: str, capture_id: str) -> None:
    """Remove the tombstone. Where every new object is kept for a time it stays as long, and does no harm."""
    with suppress(StoreHeld):
        store.delete(keys.note(tenant, keys.DELETED, capture_id))
