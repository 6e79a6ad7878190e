"""One fingerprint: how often, since when, where, and what the stack looks like."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from diag_server import stacks
from diag_server.access import allow
from diag_server.ask import limit_of
from diag_server.errors import NotFound
from diag_server.index import counts, read
from diag_server.index.rows import Filter
from diag_server.state import viewer
from diag_server.views.overview import with_trends

blueprint = Blueprint("groups", __name__)


@blueprint.get("/groups/<path:fingerprint>")
@allow("viewer")
def page(fingerprint: str) -> str:
    """The group of a fingerprint."""
    state = viewer()
    state.follower.look()
    wanted = Filter(fingerprint=fingerprint)
    groups = with_trends(counts.groups(state.engine, wanted))
    if not groups:
        raise NotFound(f"No capture has the fingerprint {fingerprint}.")
    return render_template(
        "group.html",
        group=groups[0],
        stack=stacks.runs(stacks.frames(list(groups[0].latest.stack))),
        instances=counts.instances(state.engine, wanted),
        page=read.find(state.engine, wanted, limit_of(request.args, 50), request.args.get("cursor", "")),
    )
