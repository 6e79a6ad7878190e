"""People log in with a token; what they get is a signed cookie."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from diag_server.access import ANYBODY, allow
from diag_server.state import viewer

blueprint = Blueprint("login", __name__)


@blueprint.get("/login")
@allow(ANYBODY)
def form() -> str:
    """The page that asks for a token."""
    return _form("")


@blueprint.post("/login")
@allow(ANYBODY)
def submit() -> Response | tuple[str, int]:
    """Check the token; a session keeps its digest, so that a token that is withdrawn ends its sessions."""
    identity = viewer().tokens.identify(request.form.get("token", "").strip())
    if viewer().tokens and identity is None:
        return _form("This token is not known here."), 401
    if identity is not None and not identity.may({"viewer"}):
        return _form("An agent's token delivers captures and shows none; log in with a viewer's."), 403
    session.clear()
    if identity is not None:
        session["token"] = identity.digest
    return redirect(local_path(request.form.get("next", "")))


@blueprint.post("/logout")
@allow(ANYBODY)
def logout() -> Response:
    """Forget the session."""
    session.clear()
    return redirect(url_for("login.form"))


def local_path(wanted: str) -> str:
    """The path to go on to: one of ours, never another site."""
    if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable():
        return wanted
    return url_for("overview.page")


def _form(trouble: str) -> str:
    following = request.values.get("next", "")
    return render_template("login.html", trouble=trouble, following=following, needed=bool(viewer().tokens))
