"""One capture: the verdict, the evidence, and everything that was kept."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from diag.errors import StoreError
from diag.model import Capture
from diag.report import html_write
from diag.upload import keys, pins
from diag_server.access import allow
from diag_server.errors import NotFound
from diag_server.follow import read_report
from diag_server.index import read
from diag_server.sections import section_of
from diag_server.state import viewer
from diag_server.views.objects import deliver

blueprint = Blueprint("captures", __name__)


@blueprint.get("/captures/<capture_id>")
@allow("viewer")
def page(capture_id: str) -> str | AnyResponse:
    """The capture; the start of an id leads to the one that it fits."""
    if not keys.valid_id(capture_id):
        return _complete(capture_id)
    capture, pin = known(capture_id), None
    section = section_of(capture)
    content = dict(section.content(capture))
    try:
        pin = pins.read(viewer().store, viewer().config.tenant, capture_id)
    except StoreError as error:
        content["trouble"] = content["trouble"] or str(error)
    if content["trouble"] and _is_gone(capture_id):
        raise NotFound(f"The capture {capture_id} has been removed.")
    row = read.capture(viewer().engine, capture_id)
    return render_template(section.template, capture=capture, row=row, pin=pin, **content)


@blueprint.get("/captures/<capture_id>/artifacts/<name>")
@allow("viewer")
def artifact(capture_id: str, name: str) -> Response:
    """One of the capture's files, to save."""
    capture = known(capture_id)
    if name != keys.MANIFEST and name not in {artifact.name for artifact in capture.artifacts}:
        raise NotFound(f"The capture has no artifact {name}.", "Its page lists the artifacts.")
    return deliver(keys.key(viewer().config.tenant, capture_id, name))


@blueprint.get("/captures/<capture_id>/report.html")
@allow("viewer")
def one_file(capture_id: str) -> Response:
    """The report as one HTML file, to save: it is never shown on our origin."""
    capture = known(capture_id)
    report = read_report(viewer().store, viewer().config, capture)
    if not report:
        raise NotFound(f"The capture {capture_id} has no report.", "Its page lists the artifacts.")
    answer = Response(html_write.write(report, capture.title), content_type="text/html; charset=utf-8")
    answer.headers.set("Content-Disposition", "attachment", filename=f"report.{capture_id[:13]}.html")
    return answer


def known(capture_id: str) -> Capture:
    """The capture that the index has under this id. Raises NotFound."""
    found = read.manifests(viewer().engine, [capture_id])
    if not found:
        viewer().follower.look()
        found = read.manifests(viewer().engine, [capture_id])
    if not found:
        raise NotFound(f"There is no capture {capture_id}.")
    return Capture.from_json(found[capture_id])


def _is_gone(capture_id: str) -> bool:
    try:
        return viewer().follower.forget_if_gone(capture_id)
    except StoreError:
        return False  # a store that does not answer is told as trouble, on the page


def _complete(start: str) -> AnyResponse:
    found = read.ids_like(viewer().engine, start.lower()) if len(start) >= 4 else []
    if len(found) != 1:
        reason = "Several captures start" if found else "No capture starts"
        raise NotFound(f"{reason} with {start}.", "Give more of the id, or search on the overview.")
    return redirect(url_for("captures.page", capture_id=found[0]))
