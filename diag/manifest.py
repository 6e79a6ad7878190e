"""`manifest.json` as bytes: written with a checksum of its own, because a disk may flip a bit of a title."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from diag.errors import CorruptCapture
from diag.model import Capture

SUM = "sha256"
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)


def encode_manifest(capture: Capture) -> bytes:
    """The bytes of a capture's manifest."""
    manifest = capture.to_json()
    return json.dumps({**manifest, SUM: _sum(manifest)}, indent=1).encode()


def decode_manifest(content: bytes, capture_id: str, place: object) -> Capture:
    """The capture that a manifest of this id describes; `place` says where it stands. Raises CorruptCapture."""
    try:
        capture = Capture.from_json(checked_manifest(json.loads(content)))
    except MALFORMED as error:
        raise CorruptCapture(f"{place} does not describe a capture: {type(error).__name__} {error}.") from error
    if capture.capture_id != capture_id:
        raise CorruptCapture(f"{place} describes another capture, {capture.capture_id}.")
    return capture


def checked_manifest(manifest: Any) -> Any:
    """The parsed manifest without its checksum; one of an older diag has none. Raises ValueError where it differs."""
    if not isinstance(manifest, dict) or SUM not in manifest:
        return manifest
    rest = {key: value for key, value in manifest.items() if key != SUM}
    if _sum(rest) != manifest[SUM]:
        raise ValueError("it is not what was written, its checksum differs")
    return rest


def _sum(manifest: Mapping[str, Any]) -> str:
    # Over the values, not the bytes: whoever writes the same manifest in another layout has not changed it.
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
