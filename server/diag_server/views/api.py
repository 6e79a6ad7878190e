"""The JSON API: what the pages show, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from diag import __version__
from diag.errors import NoSuchObject
from diag.model import now
from diag.upload import keys
from diag_server import openapi
from diag_server.access import ANYBODY, allow
from diag_server.agents import AGENTS_LIMIT
from diag_server.answers import json_list
from diag_server.ask import filter_of, limit_of
from diag_server.entries import report_of
from diag_server.errors import LoginNeeded, NotFound
from diag_server.index import counts, read
from diag_server.index.rows import Filter, GroupRow
from diag_server.state import viewer
from diag_server.views.agents import matching
from diag_server.views.captures import known
from diag_server.views.objects import download

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.get("/whoami")
@allow(ANYBODY)
def whoami() -> dict[str, str]:
    """Who the viewer takes the asker for; any known token may ask."""
    if g.identity is None:
        raise LoginNeeded("This needs a token that the viewer knows.")
    return {
        "app": "diag",
        "role": g.identity.role,
        "version": __version__,
        "tenant": viewer().config.tenant,
        "uploads": "presigned" if viewer().uploads_signed_by else "through",
    }


@blueprint.get("/openapi.json")
@allow("viewer")
def document() -> dict[str, Any]:
    """This API, described."""
    return openapi.document()


@blueprint.get("/captures")
@allow("viewer")
def captures() -> Response:
    """The captures that match, newest first, as their manifests."""
    return _found(filter_of(request.args))


@blueprint.get("/captures/<capture_id>")
@allow("viewer")
def capture(capture_id: str) -> dict[str, Any]:
    """One capture's manifest."""
    return known(capture_id).to_json()


@blueprint.get("/captures/<capture_id>/report")
@allow("viewer")
def report(capture_id: str) -> Response:
    """The capture's report, byte for byte."""
    artifact = report_of(known(capture_id))
    if artifact is None:
        raise NoSuchObject(f"The capture {capture_id} has no report.", "Its manifest lists what it has.")
    return download(keys.key(viewer().config.tenant, capture_id, artifact.name))


@blueprint.get("/groups")
@allow("viewer")
def groups() -> Response:
    """The fingerprints among the captures that match, the one seen last first."""
    viewer().follower.look()
    found = counts.groups(viewer().engine, filter_of(request.args), limit_of(request.args, 50))
    return jsonify({"groups": [_group(one) for one in found]})


@blueprint.get("/groups/<path:fingerprint>")
@allow("viewer")
def group(fingerprint: str) -> dict[str, Any]:
    """One fingerprint, with its instances and the innermost frames of its latest capture."""
    viewer().follower.look()
    wanted = Filter(fingerprint=fingerprint)
    found = counts.groups(viewer().engine, wanted)
    if not found:
        raise NotFound(f"No capture has the fingerprint {fingerprint}.")
    instances = [asdict(one) for one in counts.instances(viewer().engine, wanted)]
    return {**_group(found[0]), "stack": list(found[0].latest.stack), "seen_on": instances}


@blueprint.get("/instances")
@allow("viewer")
def instances() -> Response:
    """The instances among the captures that match, the one heard of last first."""
    viewer().follower.look()
    found = counts.instances(viewer().engine, filter_of(request.args), limit_of(request.args, 200))
    return jsonify({"instances": [asdict(one) for one in found]})


@blueprint.get("/agents")
@allow("viewer")
def agents() -> Response:
    """The agents that match, with the accounts of their spools, those with trouble first."""
    viewer().agents.look()
    found = matching(viewer().agents.at(now()), request.args)[: limit_of(request.args, 500, AGENTS_LIMIT)]
    return jsonify({"agents": [one.to_json() for one in found], "unread": viewer().agents.unread})


@blueprint.get("/requests/<path:request_id>")
@allow("viewer")
def one_request(request_id: str) -> Response:
    """The captures that are linked to a request."""
    return _found(Filter(request=request_id))


@blueprint.get("/traces/<path:trace_id>")
@allow("viewer")
def trace(trace_id: str) -> Response:
    """The captures that are linked to a trace."""
    return _found(Filter(trace=trace_id))


def _found(wanted: Filter) -> Response:
    state = viewer()
    state.follower.look()
    page = read.find(state.engine, wanted, limit_of(request.args, 50), request.args.get("cursor", ""))
    manifests = read.manifests(state.engine, [row.capture_id for row in page.captures])
    rows = [manifests[row.capture_id] for row in page.captures if row.capture_id in manifests]
    return json_list("captures", rows, page.next)


def _group(one: GroupRow) -> dict[str, Any]:
    latest = one.latest
    return {
        "fingerprint": one.fingerprint,
        "title": latest.headline,
        "kind": latest.kind,
        "level": latest.level,
        "cause": latest.cause,
        "sentence": latest.sentence,
        "service": latest.service,
        "count": one.count,
        "instances": one.instances,
        "partial": one.partial,
        "first_seen": one.first_seen,
        "last_seen": one.last_seen,
        "latest_capture_id": latest.capture_id,
    }
