"""What the page of a capture shows, by the capture's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diag.model import Capture
from diag_server import present, profile_page


@dataclass(frozen=True, slots=True)
class Section:
    """A template, which extends `capture.html`, and what it needs beside the capture and its row.

    Whatever cannot be read is left out, and said in one text under `trouble`: the page is there for every capture.
    """

    template: str
    content: Callable[[Capture], Mapping[str, Any]]


REPORT = Section("capture_report.html", present.content)
# A kind that is not here is shown as a report: its links, files and costs are there, whatever it is.
SECTIONS: dict[str, Section] = {
    "profile": Section("capture_profile.html", profile_page.content),
}


def section_of(capture: Capture) -> Section:
    """How this capture is shown."""
    return SECTIONS.get(capture.kind, REPORT)
