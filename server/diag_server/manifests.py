"""Manifests from outside: checked before anything is stored or indexed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from diag.manifest import checked_manifest
from diag.model import Capture, parse_stamp
from diag.upload import keys
from diag_server import hostile
from diag_server.errors import BadManifest, BadReport

ARTIFACTS_LIMIT = 1_000
LINKS_LIMIT = 10_000
# The id is made when the capture begins; the event may be older, as when a killed agent's capture is finished later.
APART = timedelta(hours=48)


def read_manifest(data: bytes, capture_id: str) -> Capture:
    """The capture that a manifest under this id's key describes. Raises BadManifest with what is wrong."""
    try:
        capture = Capture.from_json(checked_manifest(hostile.parse_json(data)))
    except BadReport as error:
        raise BadManifest(f"The manifest cannot be read: {error}") from error
    except KeyError as error:
        raise BadManifest(f"The manifest has no {error.args[0]!r}.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BadManifest(f"The manifest does not have the shape of a capture: {error}.") from error
    wrong = _wrong_types(capture) or _wrong_names(capture, capture_id)
    if wrong:
        raise BadManifest(f"The manifest is wrong: {wrong}.")
    return capture


def as_text(capture: Capture) -> str:
    """The manifest as the index keeps it: only the keys that are known, checked."""
    return json.dumps(capture.to_json(), ensure_ascii=False)


def _wrong_types(capture: Capture) -> str:
    for name, value in _texts(capture):
        if not isinstance(value, str):
            return f"{name} is not a text"
    for name, value, limit in _numbers(capture):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
            return f"{name} is not a number that can be"
    return "" if isinstance(capture.verdict, dict | None) else "verdict is not an object"


def _texts(capture: Capture) -> Iterator[tuple[str, Any]]:
    """Everything that has to be a text; None counts as one where it may be absent."""
    yield from ((name, getattr(capture, name)) for name in ("capture_id", "kind", "trigger", "title"))
    yield from ((name, getattr(capture, name) or "") for name in ("level", "fingerprint"))
    for name in ("service", "name", "instance_id", "host", "start_time", "runtime"):
        yield f"instance.{name}", getattr(capture.instance, name)
    for link in capture.links[: LINKS_LIMIT + 1]:
        yield from ((f"links.{name}", value or "") for name, value in link.to_json().items())
    if isinstance(capture.verdict, dict):
        yield from ((f"verdict.{name}", capture.verdict.get(name) or "") for name in ("cause", "sentence"))
    for artifact in capture.artifacts:
        for name in ("name", "kind", "format", "content_type", "sha256"):
            yield f"artifacts.{name}", getattr(artifact, name)


def _numbers(capture: Capture) -> Iterator[tuple[str, Any, int]]:
    yield "instance.pid", capture.instance.pid, 2**31
    yield from (("artifacts.size_bytes", artifact.size_bytes, 2**50) for artifact in capture.artifacts)


def _wrong_names(capture: Capture, capture_id: str) -> str:
    if capture.capture_id != capture_id:
        return f"it says capture_id {capture.capture_id!r}, its key says {capture_id!r}"
    if abs(parse_stamp(capture.time) - keys.moment_of(capture_id)) > APART:
        return f"its time {capture.time} is far from the time in its id"
    if len(capture.artifacts) > ARTIFACTS_LIMIT or len(capture.links) > LINKS_LIMIT:
        return "it names too many artifacts or links"
    names = [artifact.name for artifact in capture.artifacts]
    for name in names:
        if not keys.valid_name(name) or name == keys.MANIFEST:
            return f"{name!r} cannot be an artifact's name"
    return "an artifact is named twice" if len(set(names)) != len(names) else ""
