"""What the page of a capture shows, by the capture's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diag.errors import StoreError
from diag.model import Capture
from diag_server import memory_page, packets, present, profile_page, stacks_page
from diag_server.errors import BadReport, TooLarge
from diag_server.follow import read_object
from diag_server.state import viewer
from diag_server.transcripts import transcript_view


@dataclass(frozen=True, slots=True)
class Section:
    """A template, which extends `capture.html`, and what it needs beside the capture and its row.

    Whatever cannot be read is left out, and said in one text under `trouble`: the page is there for every capture.
    """

    template: str
    content: Callable[[Capture], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of the page that is filled in: its template, and the `section.shown` that this is made of."""

    template: str
    shown: Any


def part(template: str, view: Callable[[bytes], Any], *kinds: str) -> Section:
    """The section of a capture whose page is made of one file, the first artifact of one of these kinds.

    `view` makes of the file's bytes what the template shows, and raises BadReport.
    """

    def content(capture: Capture) -> Mapping[str, Any]:
        artifact = next((one for one in capture.artifacts if one.kind in kinds), None)
        if artifact is None:
            return {"section": None, "trouble": f"It has no {' or '.join(kinds)}."}
        limit = viewer().config.max_report_bytes
        try:
            data = read_object(viewer().store, viewer().key_of(capture, artifact.name), limit)
            return {"section": Shown(template, view(data)), "trouble": ""}
        except (BadReport, TooLarge, StoreError) as error:
            return {"section": None, "trouble": str(error)}

    return Section("capture_part.html", content)


REPORT = Section("capture_report.html", present.content)
# A kind of its own is a template that extends `capture.html`, or a part of it: "exec": part("exec.html", view, "text").
# A kind that is not here is shown as a report: its links, files and costs are there, whatever it is.
SECTIONS: dict[str, Section] = {
    # What a killed writer left has the kind "partial".
    "exec": part("transcript.html", transcript_view, "transcript", "partial"),
    "memory": Section("capture_memory.html", memory_page.content),
    "packets": part("packets.html", packets.read, "summary"),
    "stacks": part("stacks.html", stacks_page.read, "stacks"),
    "profile": Section("capture_profile.html", profile_page.content),
}


def section_of(capture: Capture) -> Section:
    """How this capture is shown."""
    return SECTIONS.get(capture.kind, REPORT)
