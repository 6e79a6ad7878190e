"""The last look before a capture leaves: its texts pass the redactor once more, and what was missed is masked here.

An artifact with a hit is written anew in the spool and described by a new manifest, before any byte of the capture is
sent: objects are never replaced, so the masked file has to be the first one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from diag.errors import CorruptCapture, NotRedacted
from diag.manifest import encode_manifest
from diag.model import MANIFEST, Artifact, Capture, valid_name
from diag.redact import Redactor, is_secret_name, suspects
from diag.spool import Spool
from diag.spool.files import digest, open_plain, part_of, sync_folder, write_file, write_part_of, writing
from diag.spool.manifest import read_capture

BLOCK = 1024 * 1024
LONGEST = 4 * BLOCK  # a line or a JSON string beyond this is not held in memory
REDO = ".masked-manifest"  # where it stands, the masked files are whole and only have to take their names

_JSON = re.compile(r"application/(?:[\w.-]+\+)?(?:x-nd)?json\b.*")
_TEXT = re.compile(r"text/.*|application/(?:[\w.-]+\+)?(?:xml|yaml|x-yaml|toml|javascript)\b.*")
_SUFFIXES = {"json": True, "ndjson": True, "txt": False, "log": False, "md": False}  # of files cut off: is it JSON?
_REST_OF_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*"', re.DOTALL)
_COLON = re.compile(r'\s*+:\s*+(?=")')


class _TooLong(Exception):
    """A text in one piece that is too long to look through."""


def checked(spool: Spool, folder: Path) -> Capture:
    """The capture, whole, with every text that it has looked through; what had to be masked is masked on disk.

    Raises NotRedacted where it may hold secrets that nobody can find, CorruptCapture, NoSuchCapture, SpoolUnwritable.
    """
    with writing(folder):
        _redo(folder)
    capture = spool.read(folder)
    found = {one.name: hits for one in capture.artifacts if (hits := _look(capture, folder, one))}
    return _mask(capture, folder, found) if found else capture


def _look(capture: Capture, folder: Path, artifact: Artifact) -> tuple[dict[str, Any], ...]:
    """What the redactor would mask in an artifact, as an entry of `redactions` each. Raises CorruptCapture."""
    is_json = _is_json(artifact)
    path = folder / artifact.name
    if not valid_name(artifact.name):
        raise CorruptCapture(f"{folder} names a file {artifact.name!r}.")
    with open_plain(path) as file:
        whole = os.fstat(file.fileno()).st_size == artifact.size_bytes
    # What is no text is read once less: whoever puts it into the store compares its sum anyway.
    if not whole or (is_json is not None and digest(path) != (artifact.size_bytes, artifact.sha256)):
        raise CorruptCapture(f"{path} is not the file that its manifest describes.")
    if is_json is None:
        if capture.redacted is False:
            raise NotRedacted(f"{artifact.name} was cut off before its secrets were masked, and is no text.")
        return ()
    redactor = Redactor()
    try:
        for _ in _masked(folder / artifact.name, is_json, redactor):
            pass
    except _TooLong:
        if capture.redacted is False:
            raise NotRedacted(f"{artifact.name} has a line of more than {LONGEST // BLOCK} MiB.") from None
    return tuple({**hit, "where": "exit"} for hit in redactor.counts())


def _is_json(artifact: Artifact) -> bool | None:
    """Whether it is JSON, or other text; None for what is no text."""
    if artifact.kind == "partial":
        return _SUFFIXES.get(artifact.format)
    if _JSON.fullmatch(artifact.content_type):
        return True
    return False if _TEXT.fullmatch(artifact.content_type) else None


def _mask(capture: Capture, folder: Path, found: dict[str, tuple[dict[str, Any], ...]]) -> Capture:
    """Write the files with hits and the manifest anew: all of it or, where we are killed, nothing."""
    with writing(folder):
        artifacts = tuple(_write_masked(folder, one) if one.name in found else one for one in capture.artifacts)
        hits = tuple(hit for hits in found.values() for hit in hits)
        masked = replace(capture, artifacts=artifacts, redactions=(*capture.redactions, *hits))
        write_file(folder / REDO, encode_manifest(masked))
        sync_folder(folder)
        _redo(folder)
    return masked


def _write_masked(folder: Path, artifact: Artifact) -> Artifact:
    path = folder / artifact.name
    texts = _masked(path, bool(_is_json(artifact)), Redactor())
    size, sha256 = write_part_of(path, (text.encode("utf-8", "surrogateescape") for text in texts))
    return replace(artifact, size_bytes=size, sha256=sha256)


def _redo(folder: Path) -> None:
    """Let masked files take the place of those that they stand for; repeated, if need be, after a kill."""
    if not os.path.exists(folder / REDO):  # noqa: PTH110  false too where nobody may look, and reading says so
        return
    for one in read_capture(folder / REDO).artifacts:
        part = part_of(folder / one.name)
        if part.exists() and digest(part) == (one.size_bytes, one.sha256):
            part.rename(folder / one.name)
    sync_folder(folder)
    (folder / REDO).rename(folder / MANIFEST)
    sync_folder(folder)


def _masked(path: Path, is_json: bool, redactor: Redactor) -> Iterator[str]:
    """The text of a file, masked, in pieces."""
    blocks = _blocks(path)
    return _masked_json(blocks, redactor) if is_json else _masked_text(blocks, redactor)


def _blocks(path: Path) -> Iterator[str]:
    """The text in pieces of about a mebibyte, each ending with a line. Raises _TooLong, CorruptCapture."""
    rest = b""
    with open_plain(path) as source:
        while chunk := source.read(BLOCK):
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                yield (lines + newline).decode("utf-8", "surrogateescape")
            if len(rest) > LONGEST:
                raise _TooLong
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def _masked_text(blocks: Iterable[str], redactor: Redactor) -> Iterator[str]:
    # As a whole: a private key goes over many lines.
    return (redactor.text(block) if suspects(block) else block for block in blocks)


def _masked_json(blocks: Iterable[str], redactor: Redactor) -> Iterator[str]:
    """Each string by itself, so that what was valid stays valid. A string never goes over the end of a line."""
    for block in blocks:
        at = 0
        for place in suspects(block):
            if place < at:
                continue  # in a line that was looked through already
            start, end = block.rfind("\n", 0, place) + 1, block.find("\n", place) + 1 or len(block)
            yield block[at:start]
            yield from _masked_line(block[start:end], redactor)
            at = end
        yield block[at:]


def _masked_line(text: str, redactor: Redactor) -> Iterator[str]:
    at, names_secret = 0, False
    while (quote := text.find('"', at)) >= 0 and (string := _REST_OF_STRING.match(text, quote + 1)):
        yield text[at : quote + 1]
        raw = string[0][:-1]
        yield _masked_string(raw, redactor, names_secret)
        at = string.end() - 1
        names_secret = bool(_COLON.match(text, string.end())) and is_secret_name(raw)
        yield '"'
        at += 1
    yield text[at:]


def _masked_string(raw: str, redactor: Redactor, names_secret: bool) -> str:
    """What stands between the quotes; all of it is masked where it is the value of a name such as `password`."""
    try:
        text = str(json.loads(f'"{raw}"', strict=False)) if "\\" in raw else raw
    except ValueError:  # no JSON after all
        text = raw
    masked = redactor.locals({"password": text})["password"] if names_secret else redactor.text(text)
    return raw if masked == text else json.dumps(masked, ensure_ascii=False)[1:-1]
