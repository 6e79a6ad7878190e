"""From looks at a process to the document that is kept: redacted, judged, with the requests of its threads."""

from __future__ import annotations

import json
from typing import Any

from diag.capture.take import During, File, Refined
from diag.collectors.collector import Collected
from diag.model import Missing
from diag.redact import Redactor
from diag.report.stacks_document import document
from diag.report.stacks_reading import read
from diag.report.stacks_view import StacksView

NAME, FORMAT = "stacks.json", "diag-stacks"


def refine(collected: Collected, during: During) -> Refined:
    """The document as one file, and what it says in three sentences."""
    redactor = Redactor(environment=during.environment)
    found, gaps = document(collected.facts["looks"], collected.engine, during.requests, redactor)
    view = read(found)
    content = (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
    return Refined(
        files=(File(NAME, "stacks", FORMAT, "application/json", content),),
        title=_title(found),
        facts=(found["verdict"]["sentence"], _busiest(view), _cost(view, collected)),
        missing=tuple(Missing(gap.section, redactor.text(gap.reason)) for gap in gaps.found),
        redactions=redactor.counts(),
    )


def _title(found: dict[str, Any]) -> str:
    first = found["verdict"]["sentence"].partition(". ")[0].rstrip(".")
    return f"stacks: {first[0].lower()}{first[1:]}"


def _busiest(view: StacksView) -> str:
    """What stands on top: who runs, or the largest group of those that wait."""
    groups = [group for process in view.processes for group in process.groups]
    if not groups:
        return "No thread was read."
    first = groups[0]
    many = f"{len(first.rows)} threads" if len(first.rows) > 1 else f"thread {first.first.name or first.first.id}"
    frame = next((one for one in view.stacks[first.first.stack] if one.get("inApp")), None)
    where = f" in {frame['function']}" if frame else ""
    of = f"First of {len(groups)} groups" if len(groups) > 1 else "All of it"
    return f"{of}: {many}, {first.words}{where}"


def _cost(view: StacksView, collected: Collected) -> str:
    looks = f"{len(view.times)} looks" if len(view.times) > 1 else "one look"
    stood = f"it stood still for {collected.pause_s * 1000:.1f} ms" if collected.pause_s else "without a stop"
    return f"{looks} by {collected.engine}, {stood}"
