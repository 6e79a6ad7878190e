"""A capture while it is written: whole or not at all, and finished by somebody else if its writer is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from diag.errors import DiagError, SpoolUnwritable
from diag.manifest import encode_manifest
from diag.model import MANIFEST, Artifact, Capture, Missing, valid_name
from diag.spool.files import (
    PART,
    digest,
    names,
    open_plain,
    part_of,
    reason_of,
    sync_folder,
    write_all,
    write_file,
    write_part,
    writing,
)
from diag.spool.manifest import DRAFT, read_draft
from diag.spool.order import OTHER

PARTIAL = "partial"
KILLED = Missing("artifacts", "the agent was killed while it wrote this capture")
MOVED = "moved"  # no loss: another spool takes the capture, and counts it

T = TypeVar("T")


class Queue(Protocol):
    """What a draft needs of its spool."""

    def make_room(self, size_bytes: int, rank: int, written_bytes: int = 0) -> None:
        """Raise SpoolUnwritable unless there is room, and count what is written already."""
        ...

    def publish(self, folder: Path, capture: Capture) -> Path:
        """Move the whole folder to the waiting ones."""
        ...

    def discard(self, folder: Path, reason: str) -> None:
        """Remove the draft's folder and count the loss; where it is MOVED, take the reception back instead."""
        ...


class Draft:
    """A capture that is being written. Use it as a context: leaving without `commit` abandons it.

    A collector may write straight into `folder` and then `add` the file under its own name.
    """

    def __init__(self, queue: Queue, folder: Path, descriptor: int, rank: int = OTHER, *, moves: bool = False) -> None:
        self.folder = folder
        self.capture_id = folder.name
        self._queue = queue
        self._descriptor = descriptor  # holds the flock that says: its writer lives
        self._rank = rank
        self._moves = moves  # where it is refused here, it is begun again elsewhere
        self._artifacts: dict[str, Artifact] = {}
        self._trouble = "abandoned"

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What was added so far, in order."""
        return tuple(self._artifacts.values())

    def start(self, capture: Capture, size_bytes: int) -> None:
        """Write down what is known before the first artifact, so that an orphan keeps its identity."""

        def note() -> None:
            self._queue.make_room(size_bytes, self._rank)
            write_file(self.folder / DRAFT, _line(capture.to_json()))

        self._attempt(note)

    def add(self, name: str, kind: str, format: str, content_type: str, content: bytes | Path) -> Artifact:  # noqa: A002
        """Store one file durably; returns its entry for the manifest.

        Where it fails nothing of it is left, and the rest of the draft can still be committed. Raises SpoolUnwritable.
        """
        if not valid_name(name) or name == MANIFEST or name in self._artifacts:
            raise DiagError(f"{name!r} cannot be the name of an artifact of {self.capture_id}.", "")

        def store() -> Artifact:
            size, sha256 = self._take_in(self.folder / name, content)
            artifact = Artifact(name, kind, format, content_type, size, sha256)
            # Noted before its name appears, so that whoever finishes an orphan knows each file that it sees.
            self._note(artifact)
            part_of(self.folder / name).rename(self.folder / name)
            return artifact

        self._artifacts[name] = self._attempt(store)
        return self._artifacts[name]

    def commit(self, capture: Capture) -> Path:
        """Write the manifest with the artifacts filled in, and queue the capture; returns its folder in `pending`.

        Where it fails the draft is dropped and counted. Raises SpoolUnwritable.
        """
        if capture.capture_id != self.capture_id:
            raise DiagError(f"This is the draft of {self.capture_id}, not of {capture.capture_id}.", "")
        whole = replace(capture, artifacts=self.artifacts)
        try:
            folder = self._attempt(lambda: self._seal(whole))
        except SpoolUnwritable:
            self.abandon()
            raise
        self.close()
        return folder

    def abandon(self, reason: str | None = None) -> None:
        """Remove what was written, and count the loss where that can be done."""
        if self._descriptor < 0:
            return
        try:
            self._queue.discard(self.folder, reason or self._trouble)
        except SpoolUnwritable:
            return  # it stays an orphan, and the next recovery counts it
        finally:
            self.close()

    def withdraw(self) -> None:
        """Remove what was written, as if it had never begun: there was nothing to capture, so nothing is lost."""
        self.abandon(MOVED)

    def finish_orphan(self) -> Path | None:
        """Queue what a killed writer left, marked incomplete; None where there was nothing and it was dropped.

        Raises CorruptCapture where nobody can tell what it was.
        """
        with writing(self.folder):
            capture, noted = read_draft(self.folder)
            self._finish_parts(noted)
            for name in names(self.folder):
                if name != MANIFEST and valid_name(name):
                    self._artifacts[name] = _found(self.folder / name, noted.get(name))
        if not self._artifacts:
            self.abandon("empty")
            return None
        # What was noted had passed the redactor; what was not is as a collector wrote it.
        redacted = False if any(one.kind == PARTIAL for one in self.artifacts) else capture.redacted
        return self.commit(replace(capture, incomplete=(*capture.incomplete, KILLED), redacted=redacted))

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _take_in(self, path: Path, content: bytes | Path) -> tuple[int, str]:
        if isinstance(content, Path) and content.absolute() == path.absolute():
            content.rename(part_of(path))
            return self._adopt(part_of(path))
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._queue.make_room(size, self._rank)
        return write_part(path, content)

    def _adopt(self, part: Path) -> tuple[int, str]:
        """Make a file durable that a collector wrote here."""
        with open_plain(part) as source:
            os.fchmod(source.fileno(), 0o600)
            os.fsync(source.fileno())
        try:
            self._queue.make_room(0, self._rank, written_bytes=part.stat().st_size)
        except SpoolUnwritable:
            part.unlink()
            raise
        return digest(part)

    def _note(self, artifact: Artifact) -> None:
        try:
            descriptor = os.open(self.folder / DRAFT, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                write_all(descriptor, _line(artifact.to_json()))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            part_of(self.folder / artifact.name).unlink(missing_ok=True)
            raise

    def _seal(self, capture: Capture) -> Path:
        write_file(self.folder / MANIFEST, encode_manifest(capture))
        (self.folder / DRAFT).unlink(missing_ok=True)
        sync_folder(self.folder)
        return self._queue.publish(self.folder, capture)

    def _finish_parts(self, noted: dict[str, Artifact]) -> None:
        """A part that was noted is whole, and lacks only its name; any other was cut off."""
        for part in self.folder.glob(f"{PART}*"):
            name = part.name.removeprefix(PART)
            if name in noted and digest(part) == (noted[name].size_bytes, noted[name].sha256):
                part.rename(part.with_name(name))
            else:
                part.unlink()

    def _attempt(self, step: Callable[[], T]) -> T:
        try:
            with writing(self.folder):
                return step()
        except SpoolUnwritable as error:
            self._trouble = MOVED if self._moves else reason_of(error)
            raise


def _found(path: Path, noted: Artifact | None) -> Artifact:
    size, sha256 = digest(path)
    if noted and (noted.size_bytes, noted.sha256) == (size, sha256):
        return noted
    return Artifact(path.name, PARTIAL, path.suffix.lstrip("."), "application/octet-stream", size, sha256)


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
