"""What is different between two captures of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, render_template, request

from diag.model import Capture
from diag_server import compare
from diag_server.access import allow
from diag_server.entries import report_of
from diag_server.errors import BadRequest
from diag_server.index import read
from diag_server.state import viewer
from diag_server.views.captures import known
from diag_server.workshop import profile_of

blueprint = Blueprint("differences", __name__)

# What two captures can both have: how that is found, its page, and what the page needs.
COMPARED: dict[str, tuple[Callable[[Capture], Any], str, Callable[[Capture, Capture], dict[str, Any]]]] = {
    "profile": (profile_of, "diff_profiles.html", compare.profiles),
    "report": (report_of, "diff_reports.html", compare.reports),
}


@blueprint.get("/diff")
@allow("viewer")
def page() -> str:
    """The captures `a` and `b` beside each other: what changed most comes first."""
    a, b = (known(_asked(name)) for name in ("a", "b"))
    for found_in, template, content in COMPARED.values():
        if found_in(a) and found_in(b):
            rows = [read.capture(viewer().engine, one.capture_id) for one in (a, b)]
            return render_template(template, a=a, b=b, rows=rows, **content(a, b))
    raise BadRequest(
        f"A {a.kind} and a {b.kind} have nothing in common that could be compared.",
        f"Name two captures that have the same: a {' or a '.join(COMPARED)}.",
    )


def _asked(name: str) -> str:
    value = request.args.get(name, "").strip()
    if not value:
        raise BadRequest(f"/diff needs two captures, and {name} is missing.", "For example /diff?a=ID&b=ID.")
    return value
