"""What died, how often, newest first."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import timedelta

from flask import Blueprint, Response, make_response, render_template, request

from diag.model import now, stamp
from diag_server.access import ANYBODY, allow
from diag_server.ask import filter_of, limit_of
from diag_server.index import counts, read
from diag_server.index.rows import Filter, GroupRow
from diag_server.state import viewer
from diag_server.views.agents import pressing

blueprint = Blueprint("overview", __name__)

TREND_HOURS = 24
GROUPS, CAPTURES = 30, 30


@blueprint.get("/")
@allow("viewer")
def page() -> str:
    """The overview."""
    return render_template("overview.html", **_content())


@blueprint.get("/fragments/overview")
@allow("viewer")
def fragment() -> Response:
    """The part of the overview that changes, for the page to replace while it is open."""
    viewer().follower.look()
    # Relative times differ from one second to the next; the page counts those on by itself.
    told = f"{read.newest_change(viewer().engine)} {viewer().follower.building} {pressing()}"
    state = f"{told} {stamp(now())[:13]} {request.query_string!r}"
    etag = hashlib.sha256(state.encode()).hexdigest()[:32]
    if request.if_none_match.contains(etag):
        answer = Response(status=304)
    else:
        answer = make_response(render_template("overview_live.html", **_content()))
    answer.set_etag(etag)
    return answer


@blueprint.get("/healthz")
@allow(ANYBODY)
def healthz() -> dict[str, str]:
    """Whether the viewer and its index answer."""
    read.newest_change(viewer().engine)
    return {"status": "ok"}


def with_trends(groups: list[GroupRow]) -> list[GroupRow]:
    """The groups with their counts of the last hours."""
    if not groups:
        return []
    newest = now()
    hours = [stamp(newest - timedelta(hours=back))[:13] for back in range(TREND_HOURS - 1, -1, -1)]
    trends = counts.trends(viewer().engine, [group.fingerprint for group in groups], hours)
    return [replace(group, trend=trends[group.fingerprint]) for group in groups]


def _content() -> dict[str, object]:
    state = viewer()
    state.follower.look()
    wanted, cursor = filter_of(request.args), request.args.get("cursor", "")
    page = read.find(state.engine, wanted, limit_of(request.args, CAPTURES), cursor)
    day = counts.kinds(state.engine, now() - timedelta(days=1))
    return {
        "wanted": wanted,
        "filtered": {name: value for name, value in asdict(wanted).items() if value},
        "groups": [] if cursor else with_trends(counts.groups(state.engine, _deaths(wanted), GROUPS)),
        "page": page,
        "kinds": counts.kinds(state.engine),
        "day": day,
        "cursor": cursor,
        "agents_trouble": pressing(),
    }


def _deaths(wanted: Filter) -> Filter:
    # Reports that were asked for have a fingerprint too, but nothing died.
    return wanted if wanted.kind else replace(wanted, kind="crash")
