"""Instances, and what was captured of each."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, render_template, request

from diag_server.access import allow
from diag_server.ask import filter_of, limit_of
from diag_server.errors import NotFound
from diag_server.index import counts, read
from diag_server.index.rows import Filter
from diag_server.state import viewer
from diag_server.views.overview import with_trends

blueprint = Blueprint("instances", __name__)


@blueprint.get("/instances")
@allow("viewer")
def listing() -> str:
    """All instances, the one heard of last first."""
    viewer().follower.look()
    wanted = filter_of(request.args)
    return render_template("instances.html", instances=counts.instances(viewer().engine, wanted), wanted=wanted)


@blueprint.get("/instances/<path:instance_id>")
@allow("viewer")
def page(instance_id: str) -> str:
    """One instance: its processes, what it died of, its captures over time."""
    state = viewer()
    state.follower.look()
    wanted = Filter(instance=instance_id)
    found = [one for one in counts.instances(state.engine, wanted) if one.instance_id == instance_id]
    if not found:
        raise NotFound(f"Nothing was captured of an instance {instance_id}.", "`diag ps` lists the live instances.")
    return render_template(
        "instance.html",
        instance=found[0],
        processes=counts.processes(state.engine, instance_id),
        groups=with_trends(counts.groups(state.engine, replace(wanted, kind="crash"))),
        page=read.find(state.engine, wanted, limit_of(request.args, 50), request.args.get("cursor", "")),
    )
