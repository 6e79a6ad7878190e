"""How failures and every answer look: JSON for clients, a page for people, the same headers on all."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from diag import errors
from diag.errors import DiagError
from diag_server import errors as own
from diag_server.state import viewer

log = logging.getLogger(__name__)

# The first class that fits, so the special ones stand before their parents.
STATUS: tuple[tuple[type[DiagError], int], ...] = (
    (own.LoginNeeded, 401),
    (own.RoleTooSmall, 403),
    (own.Forbidden, 403),
    (own.NotFound, 404),
    (errors.NoSuchObject, 404),
    (errors.StoreConflict, 409),
    (errors.StoreHeld, 423),
    (own.LengthMissing, 411),
    (own.TooLarge, 413),
    (own.BadManifest, 422),
    (own.BadUpload, 422),
    (own.BadReport, 422),
    (own.CannotDraw, 422),
    (own.BadRequest, 400),
    (errors.StoreRejected, 422),
    (errors.StoreUnreachable, 503),
    (errors.StoreError, 502),
    (own.DiskFull, 507),
)
INDEX_MENDED = "The index was damaged. It was set aside, and a new one is being built from the store."
INDEX_HELP = "Load the page again in a moment; where the index is a database, see whether it answers."

BROKEN = "The viewer failed to answer this. That is a mistake in the viewer, not in what you asked."

STATIC = frozenset({"static", "profiles.static"})  # endpoints of files that are the same for everybody
POLICY_HEADER = "Content-Security-Policy"
# Nothing inline and nothing from elsewhere: what a report says can never become a script or a style.
POLICY = {
    "default-src": "'none'",
    **dict.fromkeys(("script-src", "style-src", "img-src", "connect-src", "form-action", "frame-src"), "'self'"),
    **dict.fromkeys(("base-uri", "frame-ancestors"), "'none'"),
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(changes: Mapping[str, str] | None = None) -> str:
    """The content security policy of our pages, with some of its directives changed for one of them."""
    return "; ".join(f"{name} {sources}" for name, sources in {**POLICY, **(changes or {})}.items())


def for_programs(path: str) -> bool:
    """Whether programs ask there: they get JSON, and a status where people get the login page."""
    return path.startswith("/api/") or path in ("/healthz", "/metrics")


def register(app: Flask) -> None:
    """Give the application its failures and its headers."""
    app.register_error_handler(DiagError, _failed)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(DBAPIError, _index_failed)
    app.before_request(_begin)
    app.after_request(_finish)


def status_of(error: DiagError) -> int:
    """The HTTP status of a failure."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def _failed(error: DiagError) -> Response:
    status = status_of(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.path, error)
    answer = _answer(status, str(error), error.help_text)
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="diag"'
    return answer


def _refused(error: HTTPException) -> Response:
    status = error.code or 500
    if error.response is not None:
        return make_response(error.response)
    if 300 <= status < 400:
        return make_response(error.get_response())
    sentences = {404: "There is no such page.", 405: f"{request.method} is not answered here.", 500: BROKEN}
    answer = _answer(status, sentences.get(status, error.description or error.name), _help(status))
    if status == 405:
        answer.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    return answer


def _help(status: int) -> str:
    if status >= 500:
        return "The terminal where `diag serve` runs says more."
    return "/api/v1/openapi.json lists every route." if request.path.startswith("/api/") else "Start from the overview."


def _index_failed(error: DBAPIError) -> Response:
    reason = str(error.orig).strip()
    log.error("%s %s: %s", request.method, request.path, reason)
    mended = viewer().mender.mend(error, g.began)
    answer = _answer(503, INDEX_MENDED if mended else f"The index does not answer. {reason}", INDEX_HELP)
    answer.headers["Retry-After"] = "1" if mended else "5"
    return answer


def _begin() -> None:
    g.began = time.monotonic()


def _answer(status: int, sentence: str, help_text: str) -> Response:
    if for_programs(request.path):
        answer = jsonify({"error": sentence, "help": help_text})
    else:
        answer = make_response(render_template("failure.html", status=status, sentence=sentence, help_text=help_text))
    answer.status_code = status
    return answer


def _finish(response: Response) -> Response:
    response.headers.setdefault(POLICY_HEADER, policy())
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint not in STATIC:
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def json_list(name: str, rows: list[Any], following: str | None) -> Response:
    """A list as the API answers it, with the cursor that continues it."""
    return jsonify({name: rows, "next": following})
