"""One trace: every capture and every request that names it, and the way to the tracing system."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from diag_server.access import allow
from diag_server.ask import limit_of
from diag_server.errors import NotFound
from diag_server.index import counts, read
from diag_server.index.rows import Filter
from diag_server.state import viewer

blueprint = Blueprint("traces", __name__)


@blueprint.get("/traces/<path:trace_id>")
@allow("viewer")
def page(trace_id: str) -> str:
    """The trace's requests, spans and captures."""
    state = viewer()
    state.follower.look()
    links = read.linked(state.engine, trace_id=trace_id)
    if not links:
        raise NotFound(
            f"No capture is linked to the trace {trace_id}.",
            "Requests carry their trace in the `traceparent` header, or through OpenTelemetry in the application.",
        )
    wanted = Filter(trace=trace_id)
    return render_template(
        "trace.html",
        trace_id=trace_id,
        requests=list(dict.fromkeys(link.request_id for link in links if link.request_id)),
        spans=list(dict.fromkeys(link.span_id for link in links if link.span_id)),
        instances=counts.instances(state.engine, wanted),
        page=read.find(state.engine, wanted, limit_of(request.args, 50), request.args.get("cursor", "")),
    )
