"""Run a collector on a live instance, and make one capture of what it brings: links, cost, redaction, spool."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from diag.collectors.collector import Collected, Collector, Subject, Watch
from diag.collectors.proc import environment_of, still_runs
from diag.config import Settings
from diag.errors import Busy, DiagError, SpoolUnwritable
from diag.evidence import Request, Witness
from diag.model import Capture, Cost, Link, Missing, new_capture_id, now, stamp
from diag.spool import Draft, spools

LOOK_EVERY_S = 0.05
MOST_LINKS = 200


@dataclass(frozen=True, slots=True)
class File:
    """A file as it goes into the capture: bytes, or a path that the collector wrote."""

    name: str
    kind: str
    format: str
    content_type: str
    content: bytes | Path


@dataclass(frozen=True, slots=True)
class Refined:
    """What was collected, made readable: redacted files, the one line of lists, and three headline facts.

    `status` is the exit status of what was run, where something was.
    """

    files: tuple[File, ...]
    title: str
    facts: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    redactions: tuple[Mapping[str, Any], ...] = ()
    status: int = 0
    links: tuple[Link, ...] = ()  # requests that the files themselves name


@dataclass(frozen=True, slots=True)
class During:
    """What else was seen while it was collected: the requests, and between which moments.

    `environment` is that of the process, for its secrets, and is not kept.
    """

    began: datetime
    ended: datetime
    requests: tuple[Request, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """A capture in the spool, and what to tell of it."""

    capture: Capture
    folder: Path
    facts: tuple[str, ...]
    status: int = 0


@dataclass(slots=True)
class _Seen:
    """The requests of a stretch of time, looked at again and again: the black box keeps only the last ones."""

    look: Callable[[], Witness | None]
    found: dict[tuple[datetime, int], Request] = field(default_factory=dict)

    def note(self) -> None:
        witness = self.look()
        for request in (*witness.in_flight, *witness.finished) if witness else ():
            self.found[request.started, request.thread_id] = request


def take(
    collector: Collector,
    subject: Subject,
    *,
    kind: str,
    settings: Settings,
    watch: Watch,
    refine: Callable[[Collected, During], Refined],
    witness: Callable[[], Witness | None] = lambda: None,
    alone: bool = True,
    unfinished: str = "",
) -> Taken:
    """Collect, refine and commit. `witness` reads the black box of the process, where there is one.

    Without `alone` other captures of the process may be under way. `unfinished` is its title should we be killed.

    Raises DiagError where the run folder cannot be written, Busy, what the collector raises, and SpoolUnwritable.
    """
    moment, cpu = now(), _cpu_s()
    capture = Capture(new_capture_id(moment), kind, "api", stamp(moment), subject.instance, unfinished)
    with _alone_with(subject, settings) if alone else nullcontext(), _begin(capture, settings) as draft:
        began = time.monotonic()
        try:
            environment = environment_of(subject.pid)
            with _noting(witness) as seen:
                collected = collector.collect(subject, draft.folder, watch)
            during = During(moment, now(), _within(seen, moment), environment)
            refined = refine(collected, during)
        except DiagError:
            draft.withdraw()
            raise
        for file in refined.files:
            draft.add(file.name, file.kind, file.format, file.content_type, file.content)
        whole = replace(
            capture,
            title=refined.title,
            links=_links(refined.links, during.requests),
            cost=Cost(collected.pause_s, _cpu_s() - cpu, time.monotonic() - began),
            incomplete=(*collected.incomplete, *refined.missing, *_hindered(subject, kind)),
            redactions=refined.redactions,
            redacted=all(entry["rule"] != "failed" for entry in refined.redactions),
        )
        folder = draft.commit(whole)
        return Taken(replace(whole, artifacts=draft.artifacts), folder, refined.facts, refined.status)


def _begin(capture: Capture, settings: Settings) -> Draft:
    """A draft in the first spool that takes it. Raises SpoolUnwritable."""
    *before, last = spools(settings)
    for spool in before:
        with suppress(SpoolUnwritable):
            return spool.begin(capture, moves=True)
    return last.begin(capture)


@contextmanager
def _alone_with(subject: Subject, settings: Settings) -> Iterator[None]:
    """One capture at a time on one process: two would slow it down together, and count each other's pauses."""
    folder = settings.run_dir / "busy"
    path = folder / f"{subject.pid}.{subject.start_ticks}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        words = f"The run folder {settings.run_dir} cannot be written: {error.strerror}."
        raise DiagError(words, "Point DIAG_RUN_DIR (or XDG_RUNTIME_DIR) at a folder that you may write.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another capture of process {subject.pid} is under way.") from None
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextmanager
def _noting(witness: Callable[[], Witness | None]) -> Iterator[_Seen]:
    seen, ended = _Seen(witness), threading.Event()

    def note() -> None:
        while not ended.wait(LOOK_EVERY_S):
            seen.note()

    seen.note()
    thread = threading.Thread(target=note, name="requests", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        seen.note()


def _within(seen: _Seen, began: datetime) -> tuple[Request, ...]:
    """The requests that ran at some time since `began`, the oldest first."""
    found = sorted(seen.found.values(), key=lambda request: request.started)
    return tuple(request for request in found if request.ended is None or request.ended >= began)


def _hindered(subject: Subject, kind: str) -> tuple[Missing, ...]:
    """What kept the process from showing more of itself."""
    found = []
    if subject.standing:
        found.append(Missing(kind, f"process {subject.pid} was {subject.standing}, and was left so"))
    if not still_runs(subject.pid, subject.start_ticks):
        found.append(Missing(kind, f"process {subject.pid} ended while it was captured"))
    return tuple(found)


def _links(named: tuple[Link, ...], requests: tuple[Request, ...]) -> tuple[Link, ...]:
    found = (*named, *(request.link for request in requests))
    return tuple(dict.fromkeys(link for link in found if link != Link()))[-MOST_LINKS:]


def _cpu_s() -> float:
    """CPU time of ours, and of the tools that we ran and waited for."""
    return sum(os.times()[:4])
