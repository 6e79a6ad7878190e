"""Who may reach which route: every view states a role, and nothing is reached that states none."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from werkzeug.wrappers import Response

from diag_server.answers import STATIC, for_programs
from diag_server.errors import Forbidden, LoginNeeded, RoleTooSmall
from diag_server.state import viewer
from diag_server.tokens import Identity

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ANYBODY = "anybody"
FORM_BYTES = 16 * 1024


def allow(role: str, *, head: str | None = None) -> Callable[[View], View]:
    """Declare the role that reaches this view, and one that may ask for its head only; `ANYBODY` opens it to all."""

    def declare(view: View) -> View:
        view.roles = frozenset({role})  # type: ignore[attr-defined]
        view.head_roles = frozenset({role, head or role})  # type: ignore[attr-defined]
        return view

    return declare


def roles_of(app: Flask, endpoint: str, method: str = "GET") -> frozenset[str]:
    """The roles that the endpoint declares for this method; empty means nobody."""
    if endpoint in STATIC:
        return frozenset({ANYBODY})
    name = "head_roles" if method == "HEAD" else "roles"
    roles: frozenset[str] = getattr(app.view_functions[endpoint], name, frozenset())
    return roles


def guard() -> Response | None:
    """Before each request: the right address, the right origin, the right role. Raises what refuses it."""
    tokens = viewer().tokens
    if not tokens:
        _check_host()
    if request.method not in SAFE_METHODS:
        _check_origin()
    if request.endpoint is None:
        return None
    g.identity = _identify() if tokens else Identity("admin")
    _check_csrf()
    roles = roles_of(viewer().app, request.endpoint, request.method)
    if ANYBODY in roles:
        return None
    if g.identity is None:
        return _ask_to_log_in()
    if not g.identity.may(roles):
        needed = " or ".join(sorted(roles)) or "no role at all"
        raise RoleTooSmall(f"This needs the role {needed}, the token has {g.identity.role}.")
    return None


def csrf_token() -> str:
    """The session's form token, made when a form is first rendered."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


class Sessions(SecureCookieSessionInterface):
    """Signed cookies that are Secure where the page came over TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether this request came over TLS."""
        return request.is_secure


def _identify() -> Identity | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return viewer().tokens.identify(token.strip())
    presented = session.get("token")
    return viewer().tokens.identify_digest(presented) if isinstance(presented, str) else None


def _ask_to_log_in() -> Response:
    if for_programs(request.path) or request.method not in SAFE_METHODS:
        raise LoginNeeded(
            "This viewer needs a token, and this one is not known." if _bearer() else "This needs a token."
        )
    wanted = request.full_path.rstrip("?")
    return redirect(url_for("login.form", next=wanted))


def _bearer() -> bool:
    return "Authorization" in request.headers


def _check_host() -> None:
    """A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding); it cannot change the Host it sends."""
    name = (urlsplit(f"//{request.host}").hostname or "").lower()
    if name not in LOOPBACK_NAMES and not name.endswith(".localhost"):
        raise Forbidden(f"This viewer has no tokens and answers to loopback names only, not to {name!r}.")


def _check_origin() -> None:
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc != request.host):
        raise Forbidden("Another site's page sent this request.")


def _check_csrf() -> None:
    """Forms carry the session's token, and so does whatever else changes things on the strength of a cookie."""
    is_form = request.method == "POST" and not request.path.startswith("/api/")
    by_cookie = bool(viewer().tokens) and not _bearer() and "token" in session
    if request.method in SAFE_METHODS or not (is_form or by_cookie):
        return
    if is_form and (request.content_length is None or request.content_length > FORM_BYTES):
        raise Forbidden("This is no form of the viewer's.")
    presented = request.headers.get("X-CSRF-Token") or (request.form.get("csrf", "") if is_form else "")
    if not hmac.compare_digest(presented.encode(), str(session.get("csrf") or secrets.token_urlsafe()).encode()):
        raise Forbidden(
            "This form is too old, or was not made by this viewer.", "Load the page again and send it again."
        )
