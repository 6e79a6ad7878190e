"""A manifest's own checksum: what a disk changed is noticed, and what was only laid out anew is not."""

from __future__ import annotations

import json
import random

import pytest
from spooled import make_capture

from diag.errors import CorruptCapture
from diag.manifest import SUM, decode_manifest, encode_manifest
from diag.model import Capture

CAPTURE = make_capture(title="KeyError: 'Kaffee' in größe \ud800 (app.py:3)")


def decode(content: bytes) -> Capture:
    """What these bytes say of the capture."""
    return decode_manifest(content, CAPTURE.capture_id, "manifest.json")


def test_what_was_written_is_read() -> None:
    """A manifest comes back as it went, whatever its texts hold."""
    assert decode(encode_manifest(CAPTURE)) == CAPTURE


def test_no_flipped_bit_changes_a_capture() -> None:
    """A flipped bit is noticed, or hits what says nothing: the capture is the same or is refused."""
    content, chance = encode_manifest(CAPTURE), random.Random(1)
    refused = 0
    for _ in range(2000):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        damaged = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        try:
            assert decode(damaged) == CAPTURE
        except CorruptCapture:
            refused += 1
    assert refused > 1900


def test_another_layout_is_the_same_manifest() -> None:
    """The checksum is one of values: a tool that writes the JSON anew does not break it."""
    manifest = json.loads(encode_manifest(CAPTURE))
    assert decode(json.dumps(dict(reversed(manifest.items())), indent=4, ensure_ascii=True).encode()) == CAPTURE


def test_a_manifest_of_an_older_diag_has_no_checksum() -> None:
    """Without one it is taken as it is."""
    manifest = json.loads(encode_manifest(CAPTURE))
    del manifest[SUM]
    assert decode(json.dumps(manifest).encode()) == CAPTURE


def test_a_key_that_is_not_known_is_covered_too() -> None:
    """What a newer diag adds belongs to the sum: added later, it breaks it."""
    manifest = json.loads(encode_manifest(CAPTURE))
    with pytest.raises(CorruptCapture, match="checksum"):
        decode(json.dumps({**manifest, "added": 1}).encode())
