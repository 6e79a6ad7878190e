"""The reading side of a store: captures newest first, one by its id, and its files, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from diag.errors import CorruptCapture, NoSuchCapture, NoSuchObject, UsageError
from diag.manifest import decode_manifest
from diag.model import Artifact, Capture, now
from diag.upload import keys
from diag.upload.store import Store

CHUNK = 256 * 1024
IN_MEMORY = 8 * 1024 * 1024
MANIFEST_LIMIT = 16 * 1024 * 1024
_HEX = frozenset("0123456789abcdef-")
_ID_LENGTH = 36
_SHOWN = 5


def newest(
    store: Store, tenant: str, *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Capture]:
    """The captures in the store by their ids' times, newest first, read hour by hour as they are asked for.

    A folder without a readable manifest is no capture (yet), and is skipped.
    """
    for capture_id in ids(store, tenant, since, until):
        try:
            yield read(store, tenant, capture_id)
        except (NoSuchCapture, CorruptCapture):
            continue


def find(store: Store, tenant: str, id_prefix: str) -> Capture:
    """The one capture whose id starts like this. Raises NoSuchCapture, and UsageError where several do."""
    wanted = id_prefix.strip().lower()
    if keys.valid_id(wanted):
        return read(store, tenant, wanted)
    found = matching(store, tenant, wanted)
    if len(found) > 1:
        raise ambiguous(id_prefix, found)
    if not found:
        raise NoSuchCapture(f"No capture has an id that starts with {id_prefix!r}.")
    return found[0]


def matching(store: Store, tenant: str, id_prefix: str, at_most: int = _SHOWN) -> list[Capture]:
    """The newest captures whose ids start like this."""
    if not id_prefix or not set(id_prefix) <= _HEX or len(id_prefix) > _ID_LENGTH:
        return []
    found: list[Capture] = []
    for capture_id in ids(store, tenant, *_span(id_prefix)):
        if len(found) == at_most:
            break
        if capture_id.startswith(id_prefix):
            with suppress(NoSuchCapture, CorruptCapture):
                found.append(read(store, tenant, capture_id))
    return found


def ambiguous(id_prefix: str, found: list[Capture]) -> UsageError:
    """The refusal that names the candidates."""
    titles = ("".join(c if c.isprintable() else " " for c in one.title) for one in found)  # text from outside
    lines = "\n".join(f"{one.capture_id}  {title}" for one, title in zip(found, titles, strict=True))
    return UsageError(f"More than one capture has an id that starts with {id_prefix!r}.", f"Say more of it:\n{lines}")


def read(store: Store, tenant: str, capture_id: str) -> Capture:
    """The manifest of a capture. Raises NoSuchCapture, CorruptCapture."""
    return parse(capture_id, content(store, tenant, capture_id))


def content(store: Store, tenant: str, capture_id: str) -> bytes:
    """The manifest of a capture as it is stored. Raises NoSuchCapture."""
    try:
        with store.open(keys.key(tenant, capture_id, keys.MANIFEST)) as source:
            return source.read(MANIFEST_LIMIT)
    except NoSuchObject as error:
        raise NoSuchCapture(f"No capture has the id {capture_id}.") from error


def parse(capture_id: str, content: bytes) -> Capture:
    """The capture that a manifest under this id describes. Raises CorruptCapture."""
    return decode_manifest(content, capture_id, f"The manifest of {capture_id}")


def fetch(store: Store, tenant: str, capture_id: str, name: str) -> BinaryIO:
    """One file of a capture, its size and SHA-256 verified before the first byte is handed out.

    Raises NoSuchCapture, CorruptCapture and what the store raises.
    """
    capture = read(store, tenant, capture_id)
    artifact = next((one for one in capture.artifacts if one.name == name), None)
    if artifact is None or not keys.valid_name(name):
        known = ", ".join(one.name for one in capture.artifacts) or "none"
        raise NoSuchCapture(f"Capture {capture_id} has no file {name!r}.", f"Its files: {known}")
    try:
        with store.open(keys.key(tenant, capture_id, name)) as source:
            return verified(source, artifact)
    except NoSuchObject as error:
        raise CorruptCapture(f"The store has lost {name} of {capture_id}.") from error


def verified(source: BinaryIO, artifact: Artifact) -> BinaryIO:
    """A copy of the bytes that are what the manifest says. Raises CorruptCapture."""
    found, size = hashlib.sha256(), 0
    kept = cast("BinaryIO", SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115 - the caller closes it
    while (chunk := source.read(CHUNK)) and size <= artifact.size_bytes:
        found.update(chunk)
        size += len(chunk)
        kept.write(chunk)
    if (size, found.hexdigest()) != (artifact.size_bytes, artifact.sha256):
        kept.close()
        raise CorruptCapture(f"{artifact.name} is not the file that its manifest describes.")
    kept.seek(0)
    return kept


def ids(store: Store, tenant: str, since: datetime | None, until: datetime | None) -> Iterator[str]:
    """Capture ids, newest first. Only folders that can hold some of the span are listed."""
    for hour in _hours(store, f"v1/{tenant}/", "", _hour(since), _hour(until)):
        for folder in reversed(store.folders(hour)):
            capture_id = folder.rstrip("/")
            if not keys.valid_id(capture_id):
                continue
            moment = keys.moment_of(capture_id)
            if (since is None or moment >= since) and (until is None or moment <= until):
                yield capture_id


def _hours(store: Store, root: str, path: str, first: str, last: str) -> Iterator[str]:
    """The hours' prefixes, newest first, going down year, month, day and hour."""
    if path.count("/") == 4:
        yield root + path
        return
    for folder in reversed(store.folders(root + path)):
        below = path + folder
        if (
            folder.rstrip("/").isdecimal()
            and first[: len(below)] <= below
            and (not last or below <= last[: len(below)])
        ):
            yield from _hours(store, root, below, first, last)


def _hour(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y/%m/%d/%H}/" if moment else ""


def _span(id_prefix: str) -> tuple[datetime, datetime]:
    """When ids that start like this can have been made: their first 48 bits are milliseconds."""
    digits = id_prefix.replace("-", "")[:12]
    latest = now() + timedelta(days=366)
    return tuple(  # type: ignore[return-value]
        datetime.fromtimestamp(min(int(digits.ljust(12, fill), 16) / 1000, latest.timestamp()), UTC) for fill in "0f"
    )
