"""One request: every capture that names it."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from diag_server.access import allow
from diag_server.ask import limit_of
from diag_server.errors import NotFound
from diag_server.index import counts, read
from diag_server.index.rows import Filter
from diag_server.state import viewer

blueprint = Blueprint("requests", __name__)


@blueprint.get("/requests/<path:request_id>")
@allow("viewer")
def page(request_id: str) -> str:
    """The request's captures and the traces it belongs to."""
    state = viewer()
    state.follower.look()
    links = read.linked(state.engine, request_id=request_id)
    if not links:
        raise NotFound(
            f"No capture is linked to the request {request_id}.",
            "Captures carry the requests that were in flight; one that went well leaves none.",
        )
    wanted = Filter(request=request_id)
    return render_template(
        "request.html",
        request_id=request_id,
        traces=list(dict.fromkeys(link.trace_id for link in links if link.trace_id)),
        spans=list(dict.fromkeys(link.span_id for link in links if link.span_id)),
        instances=counts.instances(state.engine, wanted),
        page=read.find(state.engine, wanted, limit_of(request.args, 50), request.args.get("cursor", "")),
    )
