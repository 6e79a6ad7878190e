"""`diag show`: read one report in the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from diag import config
from diag.cli import screen
from diag.cli.pin import described
from diag.errors import CorruptCapture, DiagError
from diag.report.schema import mistake
from diag.report.visible import visible
from diag.upload.pins import Pin

_SIZE_LIMIT = 64 * 1024 * 1024


class NotAReport(DiagError):
    """The file is no report of diag's."""

    help_text = "`diag ls` lists the captures; `diag get ID` fetches the files of one."


@click.command()
@click.argument("capture_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, for programs.")
@click.option("--all", "all_threads", is_flag=True, help="Every thread with all its frames, all of stderr.")
def show(capture_id: str, as_json: bool, all_threads: bool) -> None:
    """Show the report of capture ID: why it died, on which request, and where every thread was.

    ID may be the start of an id, as `diag ls` shows it; a path to a report file (ending in .json); or - for a report on
    standard input.

    \b
    Examples:
      diag show 019f3c1a                  the answer first, then what it rests on
      diag show 019f3c1a --all | less     every thread, every frame
      diag show 019f3c1a --json | jq .verdict
      diag show ./report.20260304.050607.4711.0.001.json
    """
    name, content, pin = _content(capture_id)
    report = _parse(name, content)
    if as_json:
        click.echo(content.rstrip(b"\n"))
    else:
        if pin is not None:
            click.echo(visible(described(pin)))
        click.echo(_rendered(name, report, all_threads), nl=False, color=screen.colored())


def _content(capture_id: str) -> tuple[str, bytes, Pin | None]:
    """What to call it in a message, its bytes, and the pin of a capture that has one."""
    if capture_id == "-":
        return "Standard input", sys.stdin.buffer.read(_SIZE_LIMIT + 1), None
    if "/" in capture_id or capture_id.endswith(".json"):
        return capture_id, _from_file(Path(capture_id)), None
    return _from_capture(capture_id)


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise DiagError(f"{path} cannot be read: {error.strerror}.", NotAReport.help_text) from error


def _from_capture(capture_id: str) -> tuple[str, bytes, Pin | None]:
    from diag.cli.captures import Captures

    captures = Captures(config.load())
    known = captures.find(capture_id)
    capture = known.capture
    artifact = next((one for one in capture.artifacts if one.kind == "report"), None)
    if artifact is None:
        names = ", ".join(one.name for one in capture.artifacts) or "none"
        help_text = f"Its files: {names}\n`diag get {capture.capture_id}` fetches them."
        raise NotAReport(f"Capture {capture.capture_id} ({capture.kind}) has no report.", help_text)
    with captures.open(known, artifact) as source:
        return f"{artifact.name} of {capture.capture_id}", source.read(_SIZE_LIMIT + 1), captures.pin_of(known)


def _parse(name: str, content: bytes) -> dict[str, Any]:
    if len(content) > _SIZE_LIMIT:
        raise NotAReport(f"{name} is too large for a report.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotAReport(f"{name} is not JSON: {error}.") from error
    reason = mistake(value)
    if reason is not None:
        raise NotAReport(f"{name} is not a report of diag's: {reason}.")
    return dict(value)


def _rendered(name: str, report: dict[str, Any], all_threads: bool) -> str:
    from diag.report.render import render

    try:
        return render(report, color=screen.colored(), width=screen.width(), all_threads=all_threads)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        # The sections are there, but somebody else filled them in.
        raise CorruptCapture(
            f"{name} is damaged: {type(error).__name__} {error}.", "--json prints it as it is."
        ) from error
