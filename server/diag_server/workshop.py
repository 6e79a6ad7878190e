"""What is made of stored profiles: in a process of its own with limits, a few at a time, and kept."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diag import __version__
from diag.model import Artifact, Capture
from diag.upload import keys
from diag.upload.store import Store
from diag_server import hostile
from diag_server.config import ViewerConfig
from diag_server.errors import CannotDraw, TooLarge
from diag_server.follow import read_object
from diag_server.receive import no_room

AT_ONCE = 2
WAIT_S = 120
LEFTOVER_S = 3600
_SIGNALLED = "This profile takes more time or memory than a page may take."


def profile_of(capture: Capture) -> Artifact | None:
    """The artifact that is the capture's profile, or None."""
    return next((one for one in capture.artifacts if (one.kind, one.format) == ("profile", "pprof")), None)


class Workshop:
    """Does the jobs of `diag_server.profile_work` on captures, once each."""

    def __init__(self, store: Store, config: ViewerConfig) -> None:
        self._store, self._config = store, config
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def made(self, job: str, *captures: Capture) -> bytes:
        """The result, gzipped. Raises CannotDraw, TooLarge, and what the store raises."""
        artifacts = [self._artifact(capture) for capture in captures]
        name = self._name(job, captures, artifacts)
        kept = self._kept(name)
        if kept is not None:
            return kept
        with self._places:
            kept = self._kept(name)  # made by the one who was waited for
            return self._make(job, name, captures, artifacts) if kept is None else kept

    def stored(self, capture: Capture) -> bytes:
        """The profile as it was stored. Raises CannotDraw, TooLarge, and what the store raises."""
        key = keys.key(self._config.tenant, capture.capture_id, self._artifact(capture).name)
        return read_object(self._store, key, self._config.max_profile_bytes)

    def facts(self, job: str, *captures: Capture) -> Mapping[str, Any]:
        """The result as a JSON object; its texts are still whatever the profile said."""
        return hostile.mapping(hostile.parse_json(gzip.decompress(self.made(job, *captures))))

    def _artifact(self, capture: Capture) -> Artifact:
        artifact = profile_of(capture)
        if artifact is None:
            raise CannotDraw(f"The capture {capture.capture_id} has no profile.", "Its page lists the files it has.")
        if artifact.size_bytes > self._config.max_profile_bytes:
            raise TooLarge(f"The profile is larger than the {self._config.max_profile_bytes} bytes that are read here.")
        return artifact

    def _name(self, job: str, captures: tuple[Capture, ...], artifacts: list[Artifact]) -> str:
        # By what it was made of: objects are never replaced, and a checksum is only what a manifest says of itself.
        of = [f"{one.capture_id}/{artifact.name}" for one, artifact in zip(captures, artifacts, strict=True)]
        told = "\n".join([__version__, self._config.store_url, self._config.tenant, job, *of])
        return hashlib.sha256(told.encode()).hexdigest()

    def _kept(self, name: str) -> bytes | None:
        if self._config.made is None:
            return None
        path = self._config.made / name
        with suppress(FileNotFoundError):
            os.utime(path)  # the one that was not asked for for the longest time goes first
            return path.read_bytes()
        with suppress(FileNotFoundError):
            raise _refusal(path.with_suffix(".no").read_text())
        return None

    def _make(self, job: str, name: str, captures: tuple[Capture, ...], artifacts: list[Artifact]) -> bytes:
        folder = self._config.made
        with no_room():
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="work-", dir=folder) as work:
                sources = [Path(work) / f"in-{place}" for place in range(len(captures))]
                for source, capture in zip(sources, captures, strict=True):
                    source.write_bytes(self.stored(capture))
                out = Path(work) / "out"
                refused = _worked(job, out, sources)
                if refused:
                    out.write_text(refused)
                    self._keep(out, name + ".no")
                    raise _refusal(refused)
                result = out.read_bytes()
                self._keep(out, name)
        return result

    def _keep(self, path: Path, name: str) -> None:
        if self._config.made is not None:
            path.replace(self._config.made / name)
            _prune(self._config.made, self._config.max_made_bytes)


def _worked(job: str, out: Path, sources: list[Path]) -> str:
    """Empty where it was done, or what is wrong and, in a second line, what to do. Raises CannotDraw."""
    command = [sys.executable, "-P", "-m", "diag_server.profile_work", job, str(out), *map(str, sources)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=WAIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise CannotDraw(f"This profile was not read within {WAIT_S} seconds.") from error
    if done.returncode == 0:
        return ""
    if done.returncode == 1:
        return done.stderr.decode("utf-8", "replace")[-2000:]
    return _SIGNALLED


def _refusal(told: str) -> CannotDraw:
    sentence, _, help_text = told.strip().partition("\n")
    return CannotDraw(sentence, help_text or None)


def _prune(folder: Path, most_bytes: int) -> None:
    """Remove what was not asked for for the longest time, until the rest fits, and what a killed viewer left."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another viewer may do the same
            seen = path.stat()
            if path.is_file():
                found.append((seen.st_mtime, seen.st_size, path))
            elif seen.st_mtime < time.time() - LEFTOVER_S:
                shutil.rmtree(path, ignore_errors=True)
    left = sum(size for _, size, _ in found) - most_bytes
    for _, size, path in sorted(found):
        if left <= 0:
            break
        path.unlink(missing_ok=True)
        left -= size
