"""What the index keeps of a capture: taken from its manifest and, where it has one, its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diag.model import Artifact, Capture
from diag_server import hostile, manifests
from diag_server.index.rows import Entry

STACK_FRAMES = 12
WORDS_LIMIT = 20_000
EXCEPTIONS_DEEP = 20


def report_of(capture: Capture) -> Artifact | None:
    """The artifact that is the capture's report, or None."""
    return next((artifact for artifact in capture.artifacts if artifact.kind == "report"), None)


def entry(capture: Capture, report: Mapping[str, Any]) -> Entry:
    """The capture as the index keeps it; `report` is empty where there is none that can be read."""
    stack = tuple(_frame(frame) for frame in top_frames(report)[:STACK_FRAMES])
    words = "\n".join(dict.fromkeys(word for word in _words(capture, report) if word))
    return Entry(capture, manifests.as_text(capture), words[:WORDS_LIMIT], stack)


def top_frames(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The frames that tell where it happened: of the exception, or the crashed thread, or the Python stack."""
    exception = list(hostile.mappings(hostile.mapping(report.get("exception")).get("frames")))
    crashed = [
        list(hostile.mappings(thread.get("frames")))
        for thread in hostile.mappings(report.get("threads"))
        if thread.get("crashed") is True
    ]
    python = list(hostile.mappings(hostile.mapping(report.get("pythonStack")).get("frames")))
    return next((frames for frames in (exception, *crashed, python) if frames), [])


def exceptions(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The exception and what led to it, outermost first, each with how it belongs to the one before it."""
    waiting = [("", report.get("exception"))]
    for _ in range(EXCEPTIONS_DEEP):
        relation, one = waiting.pop(0) if waiting else ("", None)
        if not isinstance(one, dict):
            if not waiting:
                return
            continue
        yield relation, one
        members = [("member", member) for member in hostile.mappings(one.get("exceptions"))]
        waiting[:0] = [*members, ("cause", one.get("cause")), ("context", one.get("context"))]


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "function": hostile.text(frame.get("function"), 300),
        "file": hostile.text(frame.get("file"), 500),
        "line": hostile.whole(frame.get("line")),
        "module": hostile.text(frame.get("module"), 300),
        "language": hostile.text(frame.get("language"), 20),
        "inApp": frame.get("inApp") is True,
    }


def _words(capture: Capture, report: Mapping[str, Any]) -> Iterator[str]:
    instance, verdict = capture.instance, capture.verdict or {}
    yield from (capture.title, verdict.get("cause") or "", verdict.get("sentence") or "", capture.fingerprint or "")
    yield from (instance.service, instance.name, instance.host, instance.instance_id, capture.capture_id)
    for link in capture.links[:100]:
        yield from (value for value in link.to_json().values() if value)
    for _, exception in exceptions(report):
        yield from (hostile.text(exception.get(name), 1000) for name in ("type", "message"))
    yield hostile.text(hostile.mapping(report.get("signal")).get("name"), 40)
    for request in hostile.mappings(report.get("requests")):
        yield f"{hostile.text(request.get('method'), 20)} {hostile.text(request.get('path'), 500)}"
    for frame in top_frames(report)[:60]:
        yield from (hostile.text(frame.get(name), 300) for name in ("function", "file", "module"))
