"""One prune of a store: read what is there, choose, and remove it or say that it would go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from diag.config import RetentionRule
from diag.errors import CorruptCapture, NoSuchCapture, StoreHeld
from diag.model import Capture
from diag.upload import catalogue, keys, notes, pins, removal, retention
from diag.upload.roll import Entry, Roll, number
from diag.upload.store import Store

Fate = Literal["removed", "pinned", "held"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What happens to a capture that a rule lets go. `note` says who keeps it, where it stays."""

    capture: Capture
    size_bytes: int
    fate: Fate
    rule: str
    note: str = ""


@dataclass(slots=True)
class Survey:
    """What is in the store, as far as rules can be about it; and manifests that cannot be read, with the reason."""

    roll: Roll = field(default_factory=Roll)
    unreadable: dict[str, str] = field(default_factory=dict)


def survey(
    store: Store,
    tenant: str,
    rules: Sequence[RetentionRule],
    at: datetime,
    read: Callable[[int], None],
) -> Survey:
    """Read the manifests, hour by hour; `read` hears how many so far. Captures too young for any rule are not read."""
    found = Survey()
    for capture_id in catalogue.ids(store, tenant, None, retention.reach(rules, at)):
        try:
            content = catalogue.content(store, tenant, capture_id)
            found.roll.add(_entry(catalogue.parse(capture_id, content), len(content)))
        except NoSuchCapture:
            continue  # its manifest is still to come, or has just gone
        except CorruptCapture as error:
            found.unreadable[capture_id] = str(error)
        read(len(found.roll))
    return found


def finish_begun(store: Store, tenant: str) -> dict[str, str]:
    """Finish the removals that killed runs began; returns those that cannot be finished, with the reason."""
    pinned = set(pins.listed(store, tenant))
    begun = list(notes.listed(store, tenant, keys.DELETED))
    stuck = {one: removal.resume(store, tenant, one, pinned=one in pinned) for one in begun}
    return {one: why for one, why in stuck.items() if why}


def carry_out(
    store: Store,
    tenant: str,
    rules: Sequence[RetentionRule],
    at: datetime,
    found: Survey,
    tell: Callable[[Seen], None],
    *,
    dry_run: bool,
) -> int:
    """Choose, and remove what is chosen unless it is a dry run; returns by how many bytes sizes are exceeded even so.

    `tell` hears of each capture, in order. Raises what the store raises: what was told until then is done, and what
    was begun is finished by the next run.
    """
    pinned = set(pins.listed(store, tenant))

    def take(entry: Entry, rule: str) -> bool:
        seen = _decide(store, tenant, entry, rule, entry.capture_id in pinned, dry_run=dry_run)
        if seen is None:
            return True  # somebody else has removed it meanwhile
        tell(seen)
        return seen.fate == "removed"

    return retention.choose(found.roll, rules, at, take)


def _decide(store: Store, tenant: str, entry: Entry, rule: str, pinned: bool, *, dry_run: bool) -> Seen | None:
    capture_id = entry.capture_id
    try:
        manifest = catalogue.content(store, tenant, capture_id)
    except NoSuchCapture:
        return None
    capture = catalogue.parse(capture_id, manifest)
    # The list of pins is as old as the run; whoever pinned since is heard too.
    if pinned or (not dry_run and store.stat(keys.note(tenant, keys.PINS, capture_id)) is not None):
        return Seen(capture, entry.size_bytes, "pinned", rule, "pinned")
    why = removal.held(store, tenant, capture_id)
    if not why and not dry_run:
        try:
            removal.remove(store, tenant, capture_id, manifest)
        except StoreHeld as error:
            why = str(error)
    return Seen(capture, entry.size_bytes, "held" if why else "removed", rule, why)


def _entry(capture: Capture, manifest_bytes: int) -> Entry:
    """The capture in the roll. Raises CorruptCapture: manifests come from outside, and the store checks no types."""
    who, fingerprint = capture.instance, capture.fingerprint or ""
    sizes = [artifact.size_bytes for artifact in capture.artifacts]
    texts = all(isinstance(text, str) for text in (capture.kind, who.service, fingerprint))
    if not texts or not all(isinstance(size, int) and size >= 0 for size in sizes) or sum(sizes) >= 2**60:
        raise CorruptCapture(f"The manifest of {capture.capture_id} has values that cannot be.")
    size_bytes = manifest_bytes + sum(sizes)
    return Entry(capture.capture_id, capture.kind, who.service, number(fingerprint), size_bytes)
