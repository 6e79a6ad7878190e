"""One process of an instance while the agent watches it, and the evidence it leaves."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from diag.agent import history, registry
from diag.agent.blackbox import Box, exception_seen, moment_of, request_link, threads_seen
from diag.agent.freeze import Frozen
from diag.agent.registry import Target
from diag.collectors.go_death import GoDeath
from diag.evidence import (
    Ended,
    Evidence,
    ExceptionSeen,
    HangSeen,
    LastLook,
    NodeSeen,
    ProcessFacts,
    Sample,
    Thread,
    Witness,
)
from diag.model import Cost, Instance, Level, Link, Missing, TriggerKind, new_capture_id, now, stamp


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal that a process of the instance is sending to another, or to itself: to be believed for a moment only."""

    signal: int
    sender: str
    moment_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Watched:
    """What the agent holds of one process. `facts` is the last look at /proc, `box` its black box."""

    pid: int
    ticks: int
    pidfd: int
    parent: Watched | None = None
    link: socket.socket | None = None
    uid: int | None = None  # whose the process was when its probe connected
    box_path: Path | None = None
    facts: ProcessFacts | None = None
    missing: tuple[Missing, ...] = ()
    events_read: int = 0
    fatal: dict[str, Any] | None = None
    leaving: dict[str, Any] | None = None
    sent: Sent | None = None
    stuck: tuple[Thread, ...] = ()  # as it stood when its server was about to end it
    frozen: Frozen | None = None
    node: NodeSeen | None = None
    go: GoDeath | None = None
    last_look: LastLook | None = None  # at its memory, where that was nearly used up
    hang: HangSeen | None = None  # what was found before it ended, of what did not get on
    recorded: bool = False
    recorded_as: str | None = None  # the capture that its end became
    cgroup_text: str = ""
    since_s: float = field(default_factory=time.monotonic)
    history_path: Path | None = None  # what it used over its last minutes
    samples_taken: int = 0
    last_box: Box | None = field(default=None, repr=False)

    def box(self) -> Box | None:
        """The black box as it is now; the last one read where it is gone; None where it is another program's."""
        if self.box_path is not None:
            self.last_box = Box.open(self.box_path) or self.last_box
        return None if self.last_box is None or self.last_box.replaced else self.last_box

    def unlink(self) -> None:
        """The probe has gone, or another takes its place."""
        if self.link is not None:
            self.link.close()
            self.link = None

    def close(self) -> None:
        """Let go of every descriptor."""
        self.unlink()
        os.close(self.pidfd)

    def claim(self, capture_id: str) -> None:
        """Note beside the black box which capture its end becomes: who finishes for a killed agent makes no other."""
        if self.box_path is not None:
            with contextlib.suppress(OSError):
                registry.claim_path(self.box_path).write_text(capture_id)

    def remove_box(self) -> None:
        """Its end is recorded, and nobody needs the black box any more."""
        paths = [self.history_path]
        if self.box_path is not None:
            paths += [self.box_path, registry.claim_path(self.box_path), registry.read_path(self.box_path)]
        for path in filter(None, paths):
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the agent knows about the instance as a whole at the moment of an end."""

    target: Target
    stderr_tail: str | None
    missing: tuple[Missing, ...] = ()


def instance_of(process: Watched, target: Target) -> Instance:
    """The identity that captures of this process carry."""
    parent = process.parent
    return Instance(
        service=target.service,
        name=target.name,
        instance_id=target.instance_id,
        host=target.host,
        pid=process.pid,
        start_time=stamp(process.facts.start_time) if process.facts else target.start_time,
        runtime=_runtime(process),
        labels=target.labels,
        parent={"pid": parent.pid, "start_time": stamp(parent.facts.start_time)} if parent and parent.facts else None,
    )


def evidence_of_end(
    process: Watched, ended: Ended, level: Level, trigger: TriggerKind, around: Circumstances
) -> Evidence:
    """Everything known of a process that has ended, or that is about to."""
    box = process.box()
    witness = box.witness() if box else None
    frozen = process.frozen
    look = process.last_look if trigger == "oom" else None
    facts, samples = _with_history(process, witness)
    return Evidence(
        capture_id=new_capture_id(),
        time=_time_of(process),
        instance=instance_of(process, around.target),
        trigger=trigger,
        level=level,
        process=facts,
        threads=look.threads if look else _threads(process),
        exception=_exception(process),
        fault=frozen.fault if frozen else None,
        ended=ended,
        witness=witness,
        node=process.node,
        last_look=look,
        hang=process.hang,
        samples=samples,
        stderr_tail=around.stderr_tail,
        links=_links(process, witness),
        incomplete=(
            *around.missing,
            *process.missing,
            *(frozen.missing if frozen else ()),
            *(process.node.missing if process.node else ()),
            *(process.go.missing if process.go else ()),
            *(look.missing if look else ()),
            *_unseen(witness, stacks=bool(look.threads if look else _threads(process))),
        ),
        cost=frozen.cost if frozen else Cost(look.pause_s if look else 0.0),
    )


def evidence_of_event(process: Watched, record: dict[str, Any], around: Circumstances) -> Evidence:
    """An exception in a process that lives on."""
    box = process.box()
    link = request_link(record)
    return Evidence(
        capture_id=new_capture_id(),
        time=moment_of(record) or now(),
        instance=instance_of(process, around.target),
        trigger="exception",
        level="EVENT",
        process=process.facts,
        threads=(replace(threads_seen(record, process.pid)[0], crashed=False),),  # it lives on
        exception=exception_seen(record["exception"]),
        witness=box.witness() if box else None,
        samples=history.read(process.history_path),
        links=(link,) if link else (),
        incomplete=around.missing,
    )


def evidence_of_hang(process: Watched, seen: HangSeen, around: Circumstances) -> Evidence:
    """What does not get on in a process that lives; its stacks are those of the last look."""
    box = process.box()
    last = seen.looks[-1] if seen.looks else None
    links = (request.link for request in seen.requests if request.request_id or request.trace_id)
    return Evidence(
        capture_id=new_capture_id(),
        time=last.time if last else now(),
        instance=instance_of(process, around.target),
        trigger="hang" if last else "signal",
        level="EVENT",
        process=last.process if last else process.facts,
        threads=last.threads if last else (),
        loops=last.loops if last else None,
        witness=box.witness() if box else None,
        samples=history.read(process.history_path),
        hang=seen,
        links=tuple(dict.fromkeys(links)),
        incomplete=(*around.missing, *(last.incomplete if last else ())),
        cost=Cost(
            *(sum(getattr(look.cost, part) for look in seen.looks) for part in ("pause_s", "cpu_s", "duration_s"))
        ),
    )


def _with_history(process: Watched, witness: Witness | None) -> tuple[ProcessFacts | None, tuple[Sample, ...]]:
    """The last facts of a process, and its last minutes, with these facts as the last sample where they are of its end.

    An end that nobody saw coming has only the samples: the facts are as old as the process.
    """
    samples = history.read(process.history_path)
    facts = process.frozen.facts if process.frozen and process.frozen.facts else process.facts
    if facts is None:
        return None, samples
    if process.frozen or process.fatal:
        finished = witness.requests_finished if witness else None
        return facts, (*samples, history.at_the_end(facts, _time_of(process), finished))
    return history.with_last_sample(facts, samples), samples


def _time_of(process: Watched) -> datetime:
    if process.frozen:
        return process.frozen.time
    return (moment_of(process.fatal) if process.fatal else None) or now()


def _exception(process: Watched) -> ExceptionSeen | None:
    if process.fatal:
        return exception_seen(process.fatal["exception"])
    if process.go:
        return process.go.exception
    return process.node.exception if process.node else None


def _threads(process: Watched) -> tuple[Thread, ...]:
    if process.frozen:
        return process.frozen.threads
    if process.fatal:
        return threads_seen(process.fatal, process.pid)
    if process.leaving:
        left, *others = threads_seen(process.leaving, process.pid)
        return (replace(left, crashed=False), *others)
    if process.go:
        return process.go.threads
    if process.node and process.node.frames:
        return (Thread(process.pid, crashed=True, frames=process.node.frames),)
    return process.stuck


def _links(process: Watched, witness: Witness | None) -> tuple[Link, ...]:
    """The request of the crashing thread first, then the others in flight, each once."""
    found: list[Link] = []
    last = process.fatal or process.leaving
    if last and (link := request_link(last)):
        found.append(link)
    crashed = next((thread.thread_id for thread in _threads(process) if thread.crashed), None)
    in_flight = witness.in_flight if witness else ()
    # Of several on one event loop the one that began last is the likeliest; the verdict does not claim it.
    newest_first = sorted(in_flight, key=lambda request: request.started, reverse=True)
    ordered = sorted(newest_first, key=lambda request: request.thread_id != crashed)
    found += [request.link for request in ordered if request.request_id or request.trace_id]
    return tuple(dict.fromkeys(found))


def _unseen(witness: Witness | None, *, stacks: bool) -> tuple[Missing, ...]:
    """What an end that only its parent saw cannot show."""
    missing = []
    if witness is None:
        missing.append(Missing("recent", "probe absent: nothing was written inside this process"))
    if not stacks:
        missing.append(Missing("threads", "the process ended without a moment in which its stacks could be read"))
    return tuple(missing)


def _runtime(process: Watched) -> str:
    if process.node and process.node.version:
        return f"node {process.node.version}"
    if process.go:
        return "go"
    box = process.box()
    header = box.header() if box else {}
    version = header.get("version")
    return (
        f"{str(header.get('implementation') or 'python').lower().replace('cpython', 'python')} {version}"
        if version
        else ""
    )
