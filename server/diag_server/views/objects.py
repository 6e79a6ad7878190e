"""The object API: the viewer as a store, and where agents deliver to."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import DBAPIError

from diag.errors import NoSuchObject, StoreHeld
from diag.model import Capture
from diag.upload import keys
from diag_server.access import allow
from diag_server.accounts import SIZE_LIMIT, read_account
from diag_server.answers import json_list
from diag_server.errors import BadRequest, BadUpload
from diag_server.index import write
from diag_server.manifests import read_manifest
from diag_server.receive import CHUNK, Received, check_artifacts, put_once, receive
from diag_server.state import viewer

log = logging.getLogger(__name__)
blueprint = Blueprint("objects", __name__, url_prefix="/api/v1/objects")

PAGE = 1000
# What a browser may be told a file is. All are sent as downloads; nothing uploaded is shown on our origin.
SAFE_TYPES = frozenset({"application/json", "text/plain", "application/gzip", "application/vnd.tcpdump.pcap"})


@blueprint.put("/<path:key>")
@allow("agent")
def put(key: str) -> tuple[Response, int]:
    """Take one object; a manifest comes last and is checked against what came before it."""
    tenant, capture_id, name = parsed(key)
    config = viewer().config
    is_manifest = name == keys.MANIFEST
    limit = config.max_manifest_bytes if is_manifest else config.max_artifact_bytes
    announced = request.headers.get("X-Diag-Sha256")
    with receive(request.stream, request.content_length, announced, limit, config.incoming) as received:
        capture = _manifest(received, tenant, capture_id) if is_manifest else None
        new = put_once(viewer().store, key, received, safe_type(key))
    if capture is not None:
        _index(capture)
    return jsonify({"key": key, "size_bytes": received.size_bytes}), 201 if new else 200


@blueprint.put("/v1/<tenant>/agents/<agent_id>/<name>")
@allow("agent")
def put_account(tenant: str, agent_id: str, name: str) -> tuple[Response, int]:
    """Take what an agent tells about its spool."""
    key = f"v1/{tenant}/agents/{agent_id}/{name}"
    _, agent_id, account_id = parsed_account(key)
    announced, folder = request.headers.get("X-Diag-Sha256"), viewer().config.incoming
    with receive(request.stream, request.content_length, announced, SIZE_LIMIT, folder) as received:
        account = read_account(received.path.read_bytes(), agent_id, account_id)
        new = put_once(viewer().store, key, received, safe_type(key))
    viewer().agents.take(account)
    return jsonify({"key": key, "size_bytes": received.size_bytes}), 201 if new else 200


@blueprint.delete("/v1/<tenant>/agents/<agent_id>/<name>")
@allow("agent")
def delete_account(tenant: str, agent_id: str, name: str) -> tuple[str, int]:
    """Remove an account. Agents may: whoever can tell a new one for any agent gains nothing by removing an old one."""
    key = f"v1/{tenant}/agents/{agent_id}/{name}"
    parsed_account(key)
    viewer().store.delete(key)
    return "", 204


@blueprint.route("/<path:key>", methods=["GET", "HEAD"])
@allow("viewer", head="agent")
def get(key: str) -> Response:
    """The object's bytes as a download; agents ask for the head alone, and `streamed=1` asks for no redirect."""
    if keys.parse_account(key):
        parsed_account(key)
    else:
        parsed(key)
    if request.method != "HEAD":
        return download(key) if request.args.get("streamed") == "1" else deliver(key)
    answer = head(key)
    if request.args.get("held"):
        answer.headers["X-Diag-Held"] = viewer().store.held([key])
    return answer


@blueprint.delete("/<path:key>")
@allow("admin")
def delete(key: str) -> tuple[str, int]:
    """Remove an object, unless the store has to keep it; with its manifest a capture is gone."""
    _, capture_id, name = parsed(key)
    if why := viewer().store.held([key]):
        raise StoreHeld(f"{why}.")
    viewer().store.delete(key)
    if name == keys.MANIFEST:
        write.remove(viewer().engine, [capture_id])
    return "", 204


@blueprint.get("")
@allow("viewer")
def listing() -> Response:
    """Objects under a prefix in key order, or with `delimiter=/` its folders."""
    asked = request.args.get("prefix", "")
    prefix = _within(asked)
    if request.args.get("delimiter"):
        return jsonify({"folders": _folders(asked, prefix)})
    limit = _limit()
    found = list(islice(viewer().store.objects(prefix, start_after=request.args.get("start_after", "")), limit + 1))
    rows = [{"key": one.key, "size_bytes": one.size_bytes} for one in found[:limit]]
    return json_list("objects", rows, found[limit - 1].key if len(found) > limit else None)


@blueprint.after_request
def count(answer: Response) -> Response:
    """Count uploads by what they were answered, refusals too."""
    if request.method == "PUT":
        viewer().uploads.add(str(answer.status_code))
    return answer


def parsed(key: str) -> tuple[str, str, str]:
    """(tenant, capture id, name) of a key that this viewer keeps. Raises BadUpload."""
    parts = keys.parse(key)
    if parts is None:
        raise BadUpload(
            f"{key!r} is no key of a capture's object.",
            "Keys are v1/<tenant>/<yyyy>/<mm>/<dd>/<hh>/<capture id>/<file name>.",
        )
    check_tenant(parts[0])
    return parts


def parsed_account(key: str) -> tuple[str, str, str]:
    """(tenant, agent id, account id) of an account's key that this viewer keeps. Raises BadUpload."""
    parts = keys.parse_account(key)
    if parts is None:
        raise BadUpload(
            f"{key!r} is no key of an agent's account.", "Keys are v1/<tenant>/agents/<agent id>/<account id>.json."
        )
    check_tenant(parts[0])
    return parts


def check_tenant(tenant: str) -> None:
    """Raise BadUpload for another tenant than this viewer's."""
    own = viewer().config.tenant
    if tenant != own:
        raise BadUpload(
            f"This viewer keeps the captures of tenant {own!r}, not of {tenant!r}.",
            f"Set DIAG_TENANT={own} where the captures are made.",
        )


def head(key: str) -> Response:
    """Whether the object is there, and its size."""
    found = viewer().store.stat(key)
    if found is None:
        raise NoSuchObject(f"The store has no {key}.", "`GET /api/v1/objects?prefix=` lists what it has.")
    return Response(headers={"Content-Length": str(found.size_bytes)}, content_type=safe_type(key))


def deliver(key: str) -> Response:
    """The object as a file to save: streamed, or where the viewer is set so, by a redirect to its bucket."""
    signing = viewer().downloads_signed_by
    if signing is None:
        return download(key)
    answer = head(key)
    signed = signing.sign_get(key, content_type=safe_type(key), valid_s=viewer().config.url_valid_s)
    # The address is good for whoever sees it: nobody keeps it, and no page that it leads to is told of ours.
    said = {"Location": signed.url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status=303, headers=said, content_type=answer.content_type)


def download(key: str) -> Response:
    """The object's bytes, streamed, as a file to save."""
    answer = head(key)
    source = viewer().store.open(key)
    answer.response = _chunks(source)
    answer.call_on_close(source.close)
    answer.headers.set("Content-Disposition", "attachment", filename=key.rpartition("/")[2])
    return answer


def safe_type(key: str) -> str:
    """The content type that a download is sent with."""
    guessed, encoding = mimetypes.guess_type(key)
    guessed = "application/gzip" if encoding == "gzip" else guessed
    return guessed if guessed in SAFE_TYPES else "application/octet-stream"


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _manifest(received: Received, tenant: str, capture_id: str) -> Capture:
    capture = read_manifest(received.path.read_bytes(), capture_id)
    check_artifacts(viewer().store, tenant, capture)
    return capture


def _index(capture: Capture) -> None:
    try:
        viewer().follower.index_one(capture)
    except DBAPIError as error:
        # It is stored, which is what was asked; the next look into the store finds it again.
        log.warning("%s is stored but not indexed yet: %s", capture.capture_id, error.orig)


def _folders(asked: str, prefix: str) -> list[str]:
    if not asked.endswith("/"):
        raise BadRequest("A listing of folders needs a prefix that ends with `/`.")
    if asked == prefix:
        return viewer().store.folders(prefix)
    return [prefix.removeprefix(asked).partition("/")[0] + "/"]


def _within(prefix: str) -> str:
    own = f"v1/{viewer().config.tenant}/"
    if prefix.startswith(own):
        return prefix
    if own.startswith(prefix):
        return own
    raise BadRequest(f"This viewer lists keys under {own} only.")


def _limit() -> int:
    value = request.args.get("limit", str(PAGE))
    if not value.isdecimal() or not 1 <= int(value[:9]) <= PAGE:
        raise BadRequest(f"limit={value} is not a number from 1 to {PAGE}.")
    return int(value)
