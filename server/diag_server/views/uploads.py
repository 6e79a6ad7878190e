"""Uploads past the viewer: agents without the bucket's keys get requests that are signed for them."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, request

from diag.errors import StoreConflict
from diag.model import now, stamp
from diag.upload import keys
from diag.upload.store import Announced
from diag_server import hostile
from diag_server.access import allow
from diag_server.errors import BadReport, BadRequest, LengthMissing, TooLarge
from diag_server.receive import sha256_of
from diag_server.state import viewer
from diag_server.views.objects import safe_type

blueprint = Blueprint("uploads", __name__, url_prefix="/api/v1/captures")

AT_ONCE = 100
ASKED_BYTES = 64 * 1024
_SUMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}


@blueprint.post("/<capture_id>/uploads")
@allow("agent")
def offer(capture_id: str) -> Response:
    """For each artifact whether it is stored, and the request that stores it where one can be given."""
    if not keys.valid_id(capture_id):
        raise BadRequest(f"{capture_id!r} is no capture's id.")
    asked = _asked()
    tenant = viewer().config.tenant
    # A capture with a manifest is complete: nobody gets a way to add to it.
    complete = viewer().store.stat(keys.key(tenant, capture_id, keys.MANIFEST)) is not None
    said = [_offer(keys.key(tenant, capture_id, name), one, complete) for name, one in asked.items()]
    answer = jsonify({"uploads": said})
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _offer(key: str, announced: Announced, complete: bool) -> dict[str, Any]:
    stored = _is_stored(key, announced)
    signing = viewer().uploads_signed_by
    signed, valid_s = None, viewer().config.url_valid_s
    if signing is not None and not (stored or complete):
        signed = signing.sign_put(key, announced, content_type=safe_type(key), valid_s=valid_s)
    expires = stamp(now() + timedelta(seconds=valid_s))
    return {
        "name": key.rpartition("/")[2],
        "stored": stored,
        "request": {**asdict(signed), "expires": expires} if signed else None,
    }


def _is_stored(key: str, announced: Announced) -> bool:
    """Whether the object is there. Raises StoreConflict where it has other bytes."""
    found = viewer().store.stat(key)
    if found is None:
        return False
    if found.size_bytes != announced.size_bytes or sha256_of(viewer().store, found) != announced.sha256:
        raise StoreConflict(
            f"{key} is there already with other bytes.", "Objects are never replaced: send it as a new capture."
        )
    return True


def _asked() -> dict[str, Announced]:
    """What is to be uploaded, by name. Raises LengthMissing, TooLarge, BadRequest, BadUpload."""
    length = request.content_length
    if length is None:
        raise LengthMissing("The request does not say how long it is.")
    if length > ASKED_BYTES:
        raise TooLarge(f"The request has {length} bytes, at most {ASKED_BYTES} are read.", "Ask for fewer at once.")
    try:
        asked = hostile.parse_json(request.get_data())
    except BadReport as error:
        raise BadRequest(f"The request cannot be read: {error}") from error
    listed = asked.get("artifacts") if isinstance(asked, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= AT_ONCE:
        raise BadRequest(f"`artifacts` is not a list of 1 to {AT_ONCE}.")
    return dict(_artifact(one) for one in listed)


def _artifact(asked: Any) -> tuple[str, Announced]:
    asked = asked if isinstance(asked, dict) else {}
    name, size = asked.get("name"), asked.get("size_bytes")
    if not isinstance(name, str) or not keys.valid_name(name) or name == keys.MANIFEST:
        raise BadRequest(f"{name!r} cannot be an artifact's name.")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadRequest(f"size_bytes of {name} is no number of bytes.")
    limit = viewer().config.max_artifact_bytes
    if size > limit:
        raise TooLarge(f"{name} has {size} bytes, at most {limit} are taken.", "Send a smaller file.")
    for field, pattern in _SUMS.items():
        if not isinstance(asked.get(field), str) or not pattern.fullmatch(asked[field]):
            raise BadRequest(f"{field} of {name} is no checksum in hex.")
    return name, Announced(size, asked["sha256"], asked["md5"])
