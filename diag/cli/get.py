"""`diag get`: the files of a capture."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from diag import config
from diag.cli.captures import Captures, Known
from diag.cli.show import REPORT, checked_report
from diag.errors import DiagError, NoSuchCapture, UsageError
from diag.manifest import encode_manifest
from diag.model import MANIFEST, Artifact, valid_name
from diag.profiles import formats
from diag.report import html_write


@click.command()
@click.argument("capture_id", metavar="ID")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(list(formats.WRITERS)),
    help="Its profile in this format; html: its report, too.",
)
@click.option("-o", "--output", metavar="DIR", help="The folder to write to; `-` prints one file. Default: ./ID")
def get(capture_id: str, names: tuple[str, ...], form: str | None, output: str | None) -> None:
    """Fetch the files of capture ID, verified, and print where they are.

    ID may be the start of an id, as `diag ls` shows it. NAME is a file's name or a kind, such as `report`; without one
    all files come, with their manifest.

    \b
    Examples:
      diag get 019f3c1a                       all files, into a folder named by the id
      diag get 019f3c1a report -o .           the report, here
      diag get 019f3c1a report -o - | jq .verdict
      diag get 019f3c1a -f html -o .          a report, or a profile with its flame graph, as one page
    """
    captures = Captures(config.load())
    known = captures.find(capture_id)
    if form:
        _convert(captures, known, names, form, output)
        return
    wanted = _wanted(known, names)
    if output == "-":
        if not names or len(wanted) != 1:
            raise UsageError("`-o -` prints one file: name it.", _listing(known))
        with captures.open(known, wanted[0]) as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
        return
    with _folder(known, output) as folder:
        _write(captures, known, wanted, folder, whole=not names)


@contextmanager
def _folder(known: Known, output: str | None) -> Iterator[Path]:
    """The folder to write to. What cannot be written there becomes a DiagError."""
    folder = Path(output or known.capture.capture_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise DiagError(
            f"{error.filename or folder} cannot be written: {error.strerror}.", "-o names another folder."
        ) from error


def _convert(captures: Captures, known: Known, names: Sequence[str], form: str, output: str | None) -> None:
    """Write the capture's profile in this format, or its report as a page, or print it."""
    wanted = _wanted(known, names)
    kinds = ("pprof", REPORT) if form == "html" else ("pprof",)
    found = next((one for kind in kinds for one in wanted if one.format == kind), None)
    if found is None:
        what = "neither a profile nor a report" if form == "html" else "no profile"
        raise UsageError(f"There is {what} among these files, so -f {form} has nothing to write.", _listing(known))
    with captures.open(known, found) as source:
        content = source.read()
    is_report = found.format == REPORT
    if is_report:
        content = html_write.write(checked_report(found.name, content), known.capture.title)
    else:
        content = formats.write(formats.read(content, "pprof"), form)
    if output == "-":
        sys.stdout.buffer.write(content)
        return
    with _folder(known, output) as folder:
        stem = found.name.removesuffix(".json") if is_report else found.name.partition(".")[0]
        path = folder / f"{stem}{formats.SUFFIXES[form]}"
        _replace(path, content)
        click.echo(path)


def _write(captures: Captures, known: Known, wanted: Sequence[Artifact], folder: Path, *, whole: bool) -> None:
    for artifact in wanted:
        with captures.open(known, artifact) as source:
            click.echo(_save(source, folder / artifact.name))
    if whole:
        manifest = folder / MANIFEST
        _replace(manifest, encode_manifest(known.capture))
        click.echo(manifest)


def _wanted(known: Known, names: Sequence[str]) -> list[Artifact]:
    there = [artifact for artifact in known.capture.artifacts if valid_name(artifact.name)]
    found: dict[str, Artifact] = {}
    for name in names:
        matching = [artifact for artifact in there if name in (artifact.name, artifact.kind)]
        if not matching:
            raise NoSuchCapture(f"Capture {known.capture.capture_id} has no file {name!r}.", _listing(known))
        found |= {artifact.name: artifact for artifact in matching}
    return list(found.values()) if names else there


def _listing(known: Known) -> str:
    return "Its files: " + (", ".join(artifact.name for artifact in known.capture.artifacts) or "none")


def _save(source: BinaryIO, path: Path) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        with _private(part) as target:
            shutil.copyfileobj(source, target)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with _private(part) as target:
        target.write(content)
    part.replace(path)


def _private(path: Path) -> BinaryIO:
    """A new file that nobody else may read: reports hold what ran in production."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")
