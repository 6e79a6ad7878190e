"""A capture of stacks on the page: the same view that the terminal shows, its frames typed for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diag.report import stacks_reading
from diag.report.stacks_view import Json, Loop, StacksView
from diag_server import hostile
from diag_server.errors import BadReport
from diag_server.stacks import Frame, Run, frames, runs


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as it is shown, and the frame that tells most of it."""

    runs: tuple[Run, ...]
    top: Frame | None
    frames: int


@dataclass(frozen=True, slots=True)
class StacksPage:
    """What the template shows: the view, and the stacks that its numbers lead to."""

    view: StacksView
    stacks: tuple[Stack, ...]


def read(data: bytes) -> StacksPage:
    """The page of a file. Raises BadReport."""
    try:
        return _page(hostile.parse_json(data))
    except ValueError as error:
        raise BadReport(f"The stacks cannot be shown: {error}.") from error


def hang(report: Json) -> StacksPage | None:
    """The looks at what did not get on, of a report; None where there were none, or they are of another shape."""
    try:
        return _page(hostile.mapping(report.get("hang")).get("stacks"))
    except ValueError:
        return None


def _page(document: Any) -> StacksPage:
    view = stacks_reading.read(document)
    return StacksPage(view, tuple(_stack(list(stack)) for stack in view.stacks))


@dataclass(frozen=True, slots=True)
class Loops:
    """The event loops of a report, and the stacks that the numbers of their tasks lead to."""

    loops: tuple[Loop, ...] = ()
    stacks: tuple[Stack, ...] = ()


def loops(report: Json) -> Loops:
    """The event loops of a report; none where they are of another shape."""
    try:
        found, table = stacks_reading.loops_of(report)
    except ValueError:
        return Loops()
    return Loops(found, tuple(_stack(list(stack)) for stack in table))


def _stack(stack: list[Json]) -> Stack:
    found = frames(stack)
    return Stack(runs(found), next((one for one in found if one.in_app), found[0] if found else None), len(found))
