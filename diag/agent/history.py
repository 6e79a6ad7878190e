"""What each process of an instance used over its last minutes: a few figures, taken from outside at a low rate.

They stand in a ring of fixed size beside the black boxes, so that they outlive the agent, and a live report finds them.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import struct
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from diag.agent import blackbox, registry
from diag.collectors.figures import read_figures
from diag.errors import NoSuchInstance
from diag.evidence import ProcessFacts, Sample

if TYPE_CHECKING:
    from diag.agent.watched import Watched

STEP_S = 5.0
YOUNG_STEP_S = 1.0
YOUNG_S = 10.0
SLOTS = 120  # ten minutes
AT_A_TIME = 100  # with more processes each is looked at less often: the agent's time beside the instance is bounded

# Time, bytes in memory, CPU seconds, threads, open files, requests finished; -1 is unknown.
_SLOT = struct.Struct("<dqdqqq")


class History:
    """Takes the figures of an instance's processes; without a run folder there is nowhere to keep them."""

    def __init__(self, run_dir: Path | None) -> None:
        self._run_dir = run_dir
        self._due = time.monotonic() + YOUNG_STEP_S

    @property
    def patience_s(self) -> float | None:
        """How long nothing needs to be taken; None: never."""
        return None if self._run_dir is None else max(0.0, self._due - time.monotonic())

    def take(self, processes: Collection[Watched]) -> None:
        """Take a sample of each process, where it is time for that."""
        moment = time.monotonic()
        if self._run_dir is None or moment < self._due:
            return
        for process in processes:
            if process.history_path is None:
                process.history_path = registry.history_path(self._run_dir, process.pid, process.ticks)
            _add(process)
        young = any(moment - process.since_s < YOUNG_S for process in processes)
        crowd = math.ceil(len(processes) / AT_A_TIME)
        self._due = moment + (YOUNG_STEP_S if young else STEP_S) * max(1, crowd)


def read(path: Path | None) -> tuple[Sample, ...]:
    """The samples in a ring, oldest first; none where there is no such file. It may be damaged, and is never obeyed."""
    if path is None:
        return ()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(SLOTS * _SLOT.size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    whole = len(content) // _SLOT.size * _SLOT.size
    found = [sample for slot in _SLOT.iter_unpack(content[:whole]) if (sample := _sample(*slot)) is not None]
    return tuple(sorted(found, key=lambda sample: sample.time))


def at_the_end(facts: ProcessFacts, moment: datetime, requests: int | None) -> Sample:
    """The sample that a look at the dying process is."""
    cpu = [facts.cpu_user_s, facts.cpu_system_s]
    return Sample(
        time=moment,
        rss=facts.memory.get("rss"),
        cpu_s=None if None in cpu else sum(part or 0.0 for part in cpu),
        threads=len(facts.tasks) or None,
        open_files=facts.open_files,
        requests=requests,
    )


def with_last_sample(facts: ProcessFacts, samples: tuple[Sample, ...]) -> ProcessFacts:
    """The facts of a process that ended unseen, with what the last sample knows better: they are of its start."""
    last = samples[-1] if samples else None
    if last is None or last.rss is None:
        return facts
    peak = max(facts.memory.get("peak_rss", 0), *(sample.rss or 0 for sample in samples))
    memory = {**facts.memory, "rss": last.rss, "peak_rss": peak}
    return replace(facts, memory=memory, open_files=last.open_files or facts.open_files)


def _add(process: Watched) -> None:
    """A process that is gone, or a folder that takes nothing, costs the sample and nothing else."""
    assert process.history_path is not None
    with contextlib.suppress(NoSuchInstance, OSError):
        sample = read_figures(process.pid, process.ticks)
        finished = blackbox.requests_finished(process.box_path)
        told = [sample.rss, sample.cpu_s, sample.threads, sample.open_files, finished]
        slot = _SLOT.pack(sample.time.timestamp(), *(-1 if value is None else value for value in told))
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(process.history_path, flags, 0o600)
        try:
            os.pwrite(descriptor, slot, process.samples_taken % SLOTS * _SLOT.size)
        finally:
            os.close(descriptor)
        process.samples_taken += 1


def _sample(moment: float, rss: int, cpu_s: float, threads: int, open_files: int, finished: int) -> Sample | None:
    try:
        at = datetime.fromtimestamp(moment, UTC) if moment > 0 else None
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None or not math.isfinite(cpu_s):
        return None
    numbers = [None if value < 0 else value for value in (rss, threads, open_files, finished)]
    return Sample(at, numbers[0], None if cpu_s < 0 else cpu_s, *numbers[1:])
