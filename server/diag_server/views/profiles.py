"""A capture's profile: as a flame graph that fills the window, and as files in every format."""

from __future__ import annotations

import gzip
import secrets

from flask import Blueprint, Response, make_response, render_template, request

from diag import __version__
from diag.model import Capture
from diag.profiles import formats, html_write
from diag_server.access import allow
from diag_server.answers import POLICY_HEADER, policy
from diag_server.errors import NotFound
from diag_server.state import viewer
from diag_server.views.captures import known
from diag_server.workshop import profile_of

# Its static files are speedscope, which the file with a profile has in it, too.
blueprint = Blueprint("profiles", __name__, static_folder=html_write.SPEEDSCOPE, static_url_path="/static/speedscope")


@blueprint.get("/captures/<capture_id>/flamegraph")
@allow("viewer")
def flamegraph(capture_id: str) -> Response:
    """speedscope with the capture's profile; our own page frames it."""
    capture = _with_profile(capture_id)
    nonce = secrets.token_urlsafe(18)
    answer = make_response(render_template("flamegraph.html", capture=capture, nonce=nonce))
    # speedscope writes its styles into the element with the nonce, brings a font, and compiles a reader of C++ names.
    answer.headers[POLICY_HEADER] = policy(
        {
            "script-src": "'self' 'wasm-unsafe-eval'",
            "style-src": f"'self' 'nonce-{nonce}'",
            "font-src": "'self'",
            "frame-src": "'none'",
            "frame-ancestors": "'self'",
        }
    )
    return answer


@blueprint.get("/captures/<capture_id>/profile.<form>")
@allow("viewer")
def file(capture_id: str, form: str) -> Response:
    """The profile in another format, as a file to save."""
    capture = _with_profile(capture_id)
    if form not in FILES:
        raise NotFound(f"Profiles are not written as .{form}.", f"Known are {', '.join(FILES)}.")
    job, content_type = FILES[form]
    if job:
        answer = _packed(viewer().workshop.made(job, capture), f"{capture_id}.{form}")
    else:
        answer = Response(viewer().workshop.stored(capture))
    answer.content_type = content_type
    answer.headers.set("Content-Disposition", "attachment", filename=f"profile.{capture_id[:13]}.{form}")
    return answer


def _packed(content: bytes, name: str) -> Response:
    """What is gzipped already, sent like that to whoever takes it; browsers ask again with its tag."""
    takes_it = request.accept_encodings["gzip"] > 0
    etag = f"{name}.{__version__}{'.gz' if takes_it else ''}"
    if request.if_none_match.contains(etag):
        answer = Response(status=304)
    else:
        answer = Response(content if takes_it else gzip.decompress(content))
        answer.headers.update({"Content-Encoding": "gzip"} if takes_it else {})
    answer.set_etag(etag)
    answer.vary.add("Accept-Encoding")
    return answer


def _with_profile(capture_id: str) -> Capture:
    capture = known(capture_id)
    if profile_of(capture) is None:
        raise NotFound(f"The capture {capture_id} has no profile.", "Its page lists the files it has.")
    return capture


# By what the file's name ends with: the job of the workshop that makes it, and its content type.
FILES = {
    "pb.gz": ("", formats.CONTENT_TYPES["pprof"]),  # as it was stored
    "speedscope.json": ("speedscope", formats.CONTENT_TYPES["speedscope"]),
    "flamegraph.json": ("flamegraph", formats.CONTENT_TYPES["speedscope"]),  # what the page draws
    "collapsed.txt": ("collapsed", formats.CONTENT_TYPES["collapsed"]),
    "html": ("html", formats.CONTENT_TYPES["html"]),
}
