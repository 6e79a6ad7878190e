"""Reads what a folder of the spool says about itself, and trusts none of it."""

from __future__ import annotations

import json
from pathlib import Path

from diag.errors import CorruptCapture
from diag.manifest import MALFORMED, decode_manifest
from diag.model import Artifact, Capture
from diag.spool.files import open_plain
from diag.spool.shelf import id_of

DRAFT = ".draft.jsonl"
MANIFEST_LIMIT = 16 * 1024 * 1024


def read_capture(path: Path) -> Capture:
    """The capture that a manifest describes. Raises CorruptCapture."""
    return _parse(_content(path), path)


def read_draft(folder: Path) -> tuple[Capture, dict[str, Artifact]]:
    """What a draft's writer knew, and the files it noted. Raises CorruptCapture."""
    first, *rest = _content(folder / DRAFT).split(b"\n")
    noted: dict[str, Artifact] = {}
    for line in rest:
        try:
            artifact = Artifact.from_json(json.loads(line))
        except MALFORMED:
            continue  # the last line may be torn
        noted[artifact.name] = artifact
    return _parse(first, folder / DRAFT), noted


def _content(path: Path) -> bytes:
    with open_plain(path) as source:
        try:
            return source.read(MANIFEST_LIMIT)
        except OSError as error:
            raise CorruptCapture(f"{path} cannot be read: {error.strerror}.") from error


def _parse(content: bytes, path: Path) -> Capture:
    return decode_manifest(content, id_of(path.parent), path)
