"""Notes about captures in the object API: pins are an operator's, tombstones an admin's, and no agent's."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request

from diag.errors import CorruptCapture
from diag.upload import keys, pins
from diag_server.access import allow
from diag_server.errors import BadUpload
from diag_server.manifests import read_manifest
from diag_server.receive import put_once, receive
from diag_server.state import viewer
from diag_server.views.objects import check_tenant, download, head

blueprint = Blueprint("notes", __name__, url_prefix="/api/v1/objects/v1")


@blueprint.get("/<tenant>/pins/<name>")
@allow("viewer")
def pin(tenant: str, name: str) -> Response:
    """The pin of a capture."""
    return _get(keys.PINS, tenant, name)


@blueprint.put("/<tenant>/pins/<name>")
@allow("operator")
def put_pin(tenant: str, name: str) -> tuple[Response, int]:
    """Pin a capture."""
    answer = _put(keys.PINS, tenant, name, pins.parse)
    viewer().follower.look_at_pins()
    return answer


@blueprint.delete("/<tenant>/pins/<name>")
@allow("operator")
def delete_pin(tenant: str, name: str) -> tuple[str, int]:
    """Unpin a capture."""
    viewer().store.delete(_key(keys.PINS, tenant, name)[0])
    viewer().follower.look_at_pins()
    return "", 204


@blueprint.get("/<tenant>/deleted/<name>")
@allow("viewer")
def tombstone(tenant: str, name: str) -> Response:
    """The tombstone of a capture that is being removed."""
    return _get(keys.DELETED, tenant, name)


@blueprint.put("/<tenant>/deleted/<name>")
@allow("admin")
def put_tombstone(tenant: str, name: str) -> tuple[Response, int]:
    """Begin to remove a capture."""
    return _put(keys.DELETED, tenant, name, lambda capture_id, content: read_manifest(content, capture_id))


@blueprint.delete("/<tenant>/deleted/<name>")
@allow("admin")
def delete_tombstone(tenant: str, name: str) -> tuple[str, int]:
    """The removal is done."""
    viewer().store.delete(_key(keys.DELETED, tenant, name)[0])
    return "", 204


def _get(kind: str, tenant: str, name: str) -> Response:
    key, _ = _key(kind, tenant, name)
    return head(key) if request.method == "HEAD" else download(key)


def _put(kind: str, tenant: str, name: str, check: Callable[[str, bytes], object]) -> tuple[Response, int]:
    key, capture_id = _key(kind, tenant, name)
    config = viewer().config
    announced, limit = request.headers.get("X-Diag-Sha256"), config.max_manifest_bytes
    with receive(request.stream, request.content_length, announced, limit, config.incoming) as received:
        try:
            check(capture_id, received.path.read_bytes())
        except CorruptCapture as error:
            raise BadUpload(str(error)) from error
        new = put_once(viewer().store, key, received, "application/json")
    return jsonify({"key": key, "size_bytes": received.size_bytes}), 201 if new else 200


def _key(kind: str, tenant: str, name: str) -> tuple[str, str]:
    """(key, capture id). Raises BadUpload."""
    parts = keys.parse_note(f"v1/{tenant}/{kind}/{name}")
    if parts is None:
        raise BadUpload(f"{name!r} names no capture.", f"Notes are v1/<tenant>/{kind}/<capture id>.json.")
    check_tenant(tenant)
    return keys.note(*parts), parts[2]
