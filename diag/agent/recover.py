"""Finishes what a killed agent left: black boxes of ended processes, and folders of instances that are gone."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from diag.agent import history, registry
from diag.agent.blackbox import Box, exception_seen, moment_of, request_link, threads_seen
from diag.agent.registry import Target
from diag.config import Settings
from diag.errors import DiagError, SpoolUnwritable
from diag.evidence import Ended, Evidence
from diag.model import Instance, Missing, new_capture_id, stamp, valid_id
from diag.model import moment_of as time_of_id
from diag.probe.diag_probe import layout
from diag.spool import unfinished

_KNOWN = re.compile(r"(\d+)\.(\d+)" + re.escape(layout.BOX_SUFFIX))
_GONE = "the agent that watched this process was gone when it ended"


def leftovers(settings: Settings) -> bool:
    """Whether there is anything to recover, at the cost of listing a few folders."""
    return unfinished(settings) or any(map(abandoned, registry.published(settings)))


def recover(settings: Settings) -> int:
    """Record every process that ended unseen; returns how many. Several may call this at once."""
    count = 0
    for target in filter(abandoned, registry.published(settings)):
        assert target.run_dir is not None
        with alone(target.run_dir) as granted:
            now = registry.in_folder(target.run_dir) if granted else None
            if now is not None and abandoned(now):  # no new agent has taken it over since
                count += _recover_instance(target, target.run_dir, settings)
    return count


def abandoned(target: Target) -> bool:
    """Whether its agent has gone."""
    return not registry.alive(target.agent_pid, target.agent_start_ticks)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else finishes what was left in this folder, while the context lasts."""
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
    count, living = 0, registry.alive(target.pid, target.start_ticks)
    for path in boxes_in(folder):
        pid, ticks = whose(path)
        if registry.start_ticks(pid) is not None if ticks is None else registry.alive(pid, ticks):
            living = True
            continue
        count += recover_box(path, target, settings)
    if not living:
        shutil.rmtree(folder, ignore_errors=True)
    return count


def boxes_in(folder: Path) -> list[Path]:
    """The black boxes of an instance."""
    return sorted((folder / layout.BOX_FOLDER).glob(f"*{layout.BOX_SUFFIX}"))


def whose(box: Path) -> tuple[int, int | None]:
    """The pid that a black box is of, and its start ticks; None where no agent has come to know the process."""
    known = _KNOWN.fullmatch(box.name)
    if known:
        return int(known[1]), int(known[2])
    pid = box.name.partition("-")[0]
    return int(pid) if pid.isdecimal() else 0, None


def recover_box(path: Path, target: Target, settings: Settings) -> int:
    """Record the end of a process that has gone, if that is worth a record, and remove its box; how many records."""
    count, box, (pid, _) = 0, Box.open(path), whose(path)
    past = path.with_suffix(".history")
    if box is not None and _is_worth_a_record(box):
        evidence = replace(_evidence(box, pid, target, _claimed(path)), samples=history.read(past))
        count += _record_once(evidence, settings)
    for one in (path, past, registry.claim_path(path), registry.read_path(path)):
        one.unlink(missing_ok=True)
    return count


def _is_worth_a_record(box: Box) -> bool:
    if box.replaced:
        return False
    # An exception that nobody caught ends the interpreter by its exit handlers.
    return bool(box.fatal()) or not box.left_cleanly


def _status_left_with(box: Box) -> int | None:
    """The status of the os._exit that it called, which nothing comes after."""
    leaving = box.leaving() or {}
    status = leaving.get("status")
    return status if leaving.get("call") == "os._exit" and isinstance(status, int) else None


def _claimed(box: Path) -> str | None:
    """The id that the killed agent had given to this end, if it came so far."""
    try:
        said = registry.claim_path(box).read_text()
    except OSError:
        return None
    return said if valid_id(said) else None


def _record_once(evidence: Evidence, settings: Settings) -> bool:
    """Record it, unless the agent had done so before it was killed. Raises SpoolUnwritable."""
    # Late: most calls find nothing to record.
    from diag.capture.reports import record

    try:
        record(evidence, settings=settings, kind="crash")
    except SpoolUnwritable:
        raise
    except DiagError:
        return False  # the spool has this very capture, or somebody who lives is writing it
    return True


def _evidence(box: Box, pid: int, target: Target, claimed: str | None) -> Evidence:
    fatal, witness, header = box.fatal(), box.witness(), box.header()
    started = header.get("started")
    link = request_link(fatal) if fatal else None
    links = [link] if link else []
    links += [request.link for request in witness.in_flight if request.request_id or request.trace_id]
    moments = [moment_of(fatal)] if fatal else [request.started for request in witness.in_flight]
    moment = time_of_id(claimed) if claimed else max((one for one in moments if one), default=datetime.now(UTC))
    return Evidence(
        capture_id=claimed or new_capture_id(moment),  # not of now: the next diag may have come days later
        time=moment,
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
        ended=Ended(status=_status_left_with(box), evidence=(f"{_GONE}; {_how(box)}",)),
        witness=witness,
        links=tuple(dict.fromkeys(links)),
        incomplete=(Missing("exit", _GONE), Missing("resourceUsage", _GONE)),
    )


def _how(box: Box) -> str:
    if box.left_cleanly:
        return "its black box has the exception, and the interpreter exited by itself"
    if (status := _status_left_with(box)) is not None:
        return f"its black box says that it called os._exit with status {status}"
    return "its black box was not closed, so the interpreter did not exit by itself"
