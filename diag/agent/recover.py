"""Finishes what a killed agent left: black boxes of ended processes, and folders of instances that are gone."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from diag.agent import registry
from diag.agent.blackbox import Box, exception_seen, moment_of, request_link, threads_seen
from diag.agent.registry import Target
from diag.config import Settings
from diag.evidence import Ended, Evidence
from diag.model import Instance, Missing, new_capture_id, stamp
from diag.probe.diag_probe import layout
from diag.spool import unfinished

_KNOWN = re.compile(r"(\d+)\.(\d+)" + re.escape(layout.BOX_SUFFIX))
_GONE = "the agent that watched this process was gone when it ended"


def leftovers(settings: Settings) -> bool:
    """Whether there is anything to recover, at the cost of listing a few folders."""
    return unfinished(settings) or any(map(_abandoned, registry.published(settings)))


def recover(settings: Settings) -> int:
    """Record every process that ended unseen; returns how many. Several may call this at once."""
    count = 0
    for target in filter(_abandoned, registry.published(settings)):
        assert target.run_dir is not None
        with _alone(target.run_dir) as granted:
            if granted:
                count += _recover_instance(target, target.run_dir, settings)
    return count


def _abandoned(target: Target) -> bool:
    return not registry.alive(target.agent_pid, target.agent_start_ticks)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _recover_instance(target: Target, folder: Path, settings: Settings) -> int:
    # Late: most calls find nothing to record.
    from diag.capture.reports import record

    count, living = 0, registry.alive(target.pid, target.start_ticks)
    for path in sorted((folder / layout.BOX_FOLDER).glob(f"*{layout.BOX_SUFFIX}")):
        known = _KNOWN.fullmatch(path.name)
        pid, ticks = (int(known[1]), int(known[2])) if known else (int(path.name.partition("-")[0] or 0), None)
        if registry.start_ticks(pid) is not None if ticks is None else registry.alive(pid, ticks):
            living = True
            continue
        box = Box.open(path)
        if box is not None and not box.left_cleanly:
            record(_evidence(box, pid, target), settings=settings, kind="crash")
            count += 1
        path.unlink(missing_ok=True)
    if not living:
        shutil.rmtree(folder, ignore_errors=True)
    return count


def _evidence(box: Box, pid: int, target: Target) -> Evidence:
    fatal, witness, header = box.fatal(), box.witness(), box.header()
    started = header.get("started")
    link = request_link(fatal) if fatal else None
    links = [link] if link else []
    links += [request.link for request in witness.in_flight if request.request_id or request.trace_id]
    moments = [moment_of(fatal)] if fatal else [request.started for request in witness.in_flight]
    return Evidence(
        capture_id=new_capture_id(),
        time=max((moment for moment in moments if moment), default=datetime.now(UTC)),
        instance=Instance(
            service=target.service,
            name=target.name,
            instance_id=target.instance_id,
            host=target.host,
            pid=pid,
            start_time=stamp(datetime.fromtimestamp(started, UTC)) if isinstance(started, float) else target.start_time,
            runtime=f"python {header['version']}" if header.get("version") else "",
            labels=target.labels,
            parent={"pid": target.pid, "start_time": target.start_time} if pid != target.pid else None,
        ),
        trigger="exception" if fatal else "exit",
        level="FULL" if fatal else "OUTSIDE",
        threads=threads_seen(fatal, pid) if fatal else (),
        exception=exception_seen(fatal["exception"]) if fatal else None,
        ended=Ended(evidence=(f"{_GONE}; its black box was not closed, so the interpreter did not exit by itself",)),
        witness=witness,
        links=tuple(dict.fromkeys(links)),
        incomplete=(Missing("exit", _GONE), Missing("resourceUsage", _GONE)),
    )
