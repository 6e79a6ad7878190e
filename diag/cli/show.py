"""`diag show`: read one capture in the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diag import config
from diag.cli import screen
from diag.cli.pin import described
from diag.errors import CorruptCapture, DiagError
from diag.report.schema import mistake
from diag.report.visible import visible
from diag.upload.pins import Pin

if TYPE_CHECKING:
    from diag.report.stacks_view import StacksView

_SIZE_LIMIT = 64 * 1024 * 1024
REPORT = "diag-report"


class NotAReport(DiagError):
    """The file is nothing that can be shown."""

    help_text = "`diag ls` lists the captures; `diag get ID` fetches the files of one."


@dataclass(frozen=True, slots=True)
class Page:
    """How a file is shown: `check(name, JSON)` raises NotAReport, `show(what it returned, everything)` prints it."""

    check: Callable[[str, Any], Any]
    show: Callable[[Any, bool], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A file: what to call it in a message, its format, its bytes, and the pin of a capture that has one."""

    name: str
    form: str
    content: bytes
    pin: Pin | None = None


@click.command()
@click.argument("capture_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The file that is shown as JSON, for programs.")
@click.option("--all", "all_threads", is_flag=True, help="Every thread with all its frames, all of stderr; all rows.")
def show(capture_id: str, as_json: bool, all_threads: bool) -> None:
    """Show capture ID: of a report why it died, on which request, where every thread was; of stacks who waits for whom;
    of others their tables.

    ID may be the start of an id, as `diag ls` shows it; a path to a report file (ending in .json); or - for a report on
    standard input.

    \b
    Examples:
      diag show 019f3c1a                  the answer first, then what it rests on
      diag show 019f3c1a --all | less     every thread, every frame
      diag show 019f3c1a --json | jq .verdict
      diag show ./report.20260304.050607.4711.0.001.json
    """
    shown = _content(capture_id)
    page = PAGES[shown.form]
    value = page.check(shown.name, _parse(shown))
    if as_json:
        click.echo(shown.content.rstrip(b"\n"))
        return
    if shown.pin is not None:
        click.echo(visible(described(shown.pin)))
    try:
        page.show(value, all_threads)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        # The sections are there, but somebody else filled them in.
        raise CorruptCapture(
            f"{shown.name} is damaged: {type(error).__name__} {error}.", "--json prints it as it is."
        ) from error


def _content(capture_id: str) -> Shown:
    if capture_id == "-":
        return Shown("Standard input", REPORT, sys.stdin.buffer.read(_SIZE_LIMIT + 1))
    if "/" in capture_id or capture_id.endswith(".json"):
        return Shown(capture_id, REPORT, _from_file(Path(capture_id)))
    return _from_capture(capture_id)


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise DiagError(f"{path} cannot be read: {error.strerror}.", NotAReport.help_text) from error


def _from_capture(capture_id: str) -> Shown:
    from diag.cli.captures import Captures

    captures = Captures(config.load())
    known = captures.find(capture_id)
    capture = known.capture
    artifact = next((one for form in PAGES for one in capture.artifacts if one.format == form), None)
    if artifact is None:
        names = ", ".join(one.name for one in capture.artifacts) or "none"
        help_text = f"Its files: {names}\n`diag get {capture.capture_id}` fetches them."
        raise NotAReport(f"Capture {capture.capture_id} ({capture.kind}) has no report.", help_text)
    with captures.open(known, artifact) as source:
        content = source.read(_SIZE_LIMIT + 1)
    return Shown(f"{artifact.name} of {capture.capture_id}", artifact.format, content, captures.pin_of(known))


def checked_report(name: str, content: bytes) -> dict[str, Any]:
    """The report in a file's bytes. Raises NotAReport."""
    return _report(name, _parse(Shown(name, REPORT, content)))


def _parse(shown: Shown) -> Any:
    if len(shown.content) > _SIZE_LIMIT:
        raise NotAReport(f"{shown.name} is too large to be shown.")
    try:
        return json.loads(shown.content)
    except (ValueError, RecursionError) as error:
        raise NotAReport(f"{shown.name} is not JSON: {error}.") from error


def _report(name: str, value: Any) -> dict[str, Any]:
    reason = mistake(value)
    if reason is not None:
        raise NotAReport(f"{name} is not a report of diag's: {reason}.")
    return dict(value)


def _show_report(report: Any, all_threads: bool) -> None:
    from diag.report.render import render

    text = render(report, color=screen.colored(), width=screen.width(), all_threads=all_threads)
    click.echo(text, nl=False, color=screen.colored())


def _summary(has: str) -> Callable[[str, Any], dict[str, Any]]:
    """A check for a summary that has this section."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or has not in value:
            raise NotAReport(f"{name} is no summary of diag's: it has no {has}.")
        return value

    return check


def _show_profile(summary: Any, everything: bool) -> None:
    from diag.cli.profile_tables import show

    show(summary, everything)


def _show_packets(summary: Any, everything: bool) -> None:
    from diag.cli.packets_tables import show

    show(summary, everything)


def _show_memory(summary: Any, everything: bool) -> None:
    from diag.cli.memory_tables import show

    show(summary, everything)


def _document(name: str, value: Any) -> StacksView:
    from diag.report.stacks_reading import read

    try:
        return read(value)
    except ValueError as error:
        raise NotAReport(f"{name} cannot be shown: {error}.") from error


def _show_stacks(view: Any, everything: bool) -> None:
    from diag.report.stacks_render import render

    text = render(view, color=screen.colored(), width=screen.width(), everything=everything)
    click.echo(text, nl=False, color=screen.colored())


# Of a capture the first file whose format stands here is shown.
PAGES = {
    REPORT: Page(_report, _show_report),
    "diag-profile": Page(_summary("facts"), _show_profile),
    "diag-memory": Page(_summary("mappings"), _show_memory),
    "diag-packets": Page(_summary("conversations"), _show_packets),
    "diag-stacks": Page(_document, _show_stacks),
}
