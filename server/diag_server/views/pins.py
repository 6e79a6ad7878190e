"""Pinning a capture from its page, so that no retention rule removes it."""

from __future__ import annotations

from flask import Blueprint, g, redirect, request, url_for
from werkzeug.wrappers import Response

from diag.upload import pins
from diag_server.access import allow
from diag_server.state import viewer
from diag_server.views.captures import known

blueprint = Blueprint("pins", __name__)


@blueprint.post("/captures/<capture_id>/pin")
@allow("operator")
def add(capture_id: str) -> Response:
    """Pin it, with the reason in the form."""
    capture, state = known(capture_id), viewer()
    by = f"the {g.identity.role} in the viewer"
    pins.pin(state.store, state.config.tenant, capture.capture_id, by, request.form.get("reason", "").strip())
    return _back(capture.capture_id)


@blueprint.post("/captures/<capture_id>/unpin")
@allow("operator")
def remove(capture_id: str) -> Response:
    """Take the pin away."""
    capture, state = known(capture_id), viewer()
    pins.unpin(state.store, state.config.tenant, capture.capture_id)
    return _back(capture.capture_id)


def _back(capture_id: str) -> Response:
    viewer().follower.look_at_pins()
    return redirect(url_for("captures.page", capture_id=capture_id))
