"""The agents that deliver: where every capture of each is, for people and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flask import Blueprint, Response, render_template, request

from diag.model import now
from diag_server.access import allow
from diag_server.accounts import TROUBLES, Agent
from diag_server.agents import AGENTS_LIMIT
from diag_server.ask import VALUE_LIMIT, limit_of
from diag_server.index import counts
from diag_server.metrics import Facts, exposed
from diag_server.state import viewer

blueprint = Blueprint("agents", __name__)

SHOWN = 500
# What the overview speaks of; the others can wait for somebody who looks at the agents.
PRESSING = ("late", "silent", "dropped")


@blueprint.get("/agents")
@allow("viewer")
def page() -> str:
    """All agents, those with trouble first; those that have not been heard of for a month are folded away."""
    seen = viewer().agents
    seen.look()
    everyone = seen.at(now())
    found = matching(everyone, request.args)
    most = limit_of(request.args, SHOWN, AGENTS_LIMIT)
    return render_template(
        "agents.html",
        agents=[one for one in found if not one.old][:most],
        old=[one for one in found if one.old][:most],
        more=max(0, len(found) - most),
        everyone=len(everyone),
        troubled=sum(bool(one.troubles) for one in everyone if not one.old),
        unread=seen.unread,
        trouble=seen.trouble,
        wanted={name: request.args.get(name, "") for name in ("q", "only")},
        words=TROUBLES,
    )


@blueprint.get("/metrics")
@allow("viewer")
def metrics() -> Response:
    """The accounts of all agents and the viewer's own state, as Prometheus reads it."""
    state = viewer()
    state.follower.look()
    state.agents.look()
    facts = Facts(
        agents=[one for one in state.agents.at(now()) if not one.old],
        unread=state.agents.unread,
        captures=counts.kinds(state.engine),
        uploads=state.uploads.counts(),
        looked_s_ago=state.follower.looked_s_ago,
        reachable=not (state.follower.trouble or state.agents.trouble),
    )
    content, content_type = exposed(facts, request.headers.get("Accept", ""))
    return Response(content, content_type=content_type)


def matching(agents: Iterable[Agent], arguments: Mapping[str, str]) -> list[Agent]:
    """The agents that the query string's `q` and `only` select."""
    words = arguments.get("q", "")[:VALUE_LIMIT].lower().split()
    chosen = [one for one in agents if all(word in _said(one) for word in words)]
    if arguments.get("only") == "trouble":
        return [one for one in chosen if one.troubles and not one.old]
    return chosen


def pressing() -> list[str]:
    """Sentences for the overview, one for each thing that is wrong with some agent now."""
    seen = viewer().agents
    seen.look()
    troubled = [one for one in seen.at(now()) if one.troubles and not one.old]
    found = []
    for name in PRESSING:
        count = sum(name in one.troubles for one in troubled)
        if count:
            found.append(f"{count} {'agent' if count == 1 else 'agents'}: {TROUBLES[name]}")
    return found


def _said(agent: Agent) -> str:
    told = agent.account
    return " ".join((told.host, told.agent_id, told.version, told.trouble, *told.dropped)).lower()
