"""Manifests from outside."""

from __future__ import annotations

import json
from typing import Any

import deaths
import pytest
from diag_server.errors import BadManifest
from diag_server.manifests import read_manifest

from diag.model import new_capture_id


@pytest.fixture(scope="module")
def made() -> deaths.Made:
    return deaths.made(deaths.segfault())


def changed(made: deaths.Made, path: str, value: Any) -> bytes:
    document = json.loads(made.manifest)
    *parents, last = path.split("/")
    place: Any = document
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return json.dumps(document).encode()


def test_a_good_manifest_is_the_capture(made: deaths.Made) -> None:
    """What an agent writes is read back whole."""
    assert read_manifest(made.manifest, made.id) == made.capture


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", {"a": 1}),
        ("kind", None),
        ("level", ["FULL"]),
        ("time", "yesterday"),
        ("time", "2001-01-01T00:00:00+00:00"),
        ("time", 12),
        ("instance", []),
        ("instance/pid", "4711"),
        ("instance/pid", -1),
        ("instance/pid", 2**70),
        ("instance/host", 7),
        ("links", ["req-1"]),
        ("links/0/request_id", {"x": 1}),
        ("verdict", "it died"),
        ("verdict/sentence", ["x"]),
        ("artifacts", {"a": 1}),
        ("artifacts/0/name", "../../etc/passwd"),
        ("artifacts/0/name", "manifest.json"),
        ("artifacts/0/size_bytes", "12"),
        ("artifacts/0/sha256", None),
        ("cost", [1]),
        ("incomplete", [{"what": "x"}]),
        ("capture_id", new_capture_id()),
    ],
)
def test_a_wrong_manifest_is_refused(made: deaths.Made, path: str, value: Any) -> None:
    """Whatever a manifest gets wrong ends in BadManifest with a sentence, never in another error or in the index."""
    with pytest.raises(BadManifest, match="manifest"):
        read_manifest(changed(made, path, value), made.id)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b'"x"', b"{}", b"\xff"])
def test_what_is_no_manifest_is_refused(made: deaths.Made, data: bytes) -> None:
    """Bytes that are no object are refused the same way."""
    with pytest.raises(BadManifest):
        read_manifest(data, made.id)


def test_every_key_that_is_needed_is_named(made: deaths.Made) -> None:
    """A missing key is named in the sentence."""
    document = json.loads(made.manifest)
    del document["instance"]["host"]

    with pytest.raises(BadManifest, match="'host'"):
        read_manifest(json.dumps(document).encode(), made.id)
