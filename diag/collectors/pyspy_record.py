"""CPU and wall profiles of Python by py-spy: from outside, without a stop unless native frames are asked for."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from diag.collectors import pyspy
from diag.collectors.asked import ProfileAsked
from diag.collectors.children import Recorded, pythons, record_each
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.cpu_clocks import CpuClocks
from diag.collectors.pause import PauseEstimate
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder
from diag.errors import ToolFailed, ToolMissing, WrongEngine, WrongRuntime
from diag.model import Missing

NEWEST = (3, 15)
_COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")
_HEAD_BYTES = 16_384
_MOMENT = re.compile(rb'"ts":(\d+)')


class PySpyRecord:
    """`py-spy record`, as a Chrome trace: it alone keeps when each stack was seen, and in which thread."""

    engine = "py-spy"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """py-spy is there, the process may be read, and it is a CPython that py-spy knows."""
        if subject.language != "python":
            raise WrongRuntime(f"py-spy reads Python, and pid {subject.pid} is {subject.runtime or 'of unknown make'}.")
        check_attachable(subject.pid)
        if subject.version[:2] > NEWEST:
            raise ToolMissing(f"py-spy does not know {subject.runtime} yet.", "pip install -U py-spy")
        pyspy.find()
        if not self._asked.native:
            return "reads it from outside, without a stop; of short calls some stacks mix two moments"
        if subject.standing:
            raise WrongEngine(
                f"The process is {subject.standing}, and native frames would take hold of it.", "Leave out --native."
            )
        if not _same_namespace(subject):
            raise WrongEngine("py-spy finds no native frames of a process in a container.", "Leave out --native.")
        return "reads it from outside; for native frames it stops the process at each sample"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises ToolFailed where there are none."""
        asked = self._asked
        pids = pythons(subject, subprocesses=asked.subprocesses)
        watching = PauseEstimate(subject.pid) if asked.native else nullcontext()
        # py-spy does not say until when a thread ran that rests later.
        clocks = CpuClocks(pids) if asked.mode != "wall" else nullcontext()
        with watching, clocks:
            recorded = record_each(pids, self._command, folder / ".py-spy", asked, watch)
        pause_s = watching.pause_s if isinstance(watching, PauseEstimate) else 0.0
        made, missing, lost, first = list[Made](), list[Missing](), 0, recorded[0].ran
        for one in recorded:
            if not one.path.exists() or not one.path.stat().st_size:
                why = one.ran.stderr or f"exit status {one.ran.status}"
                missing.append(Missing("profile", f"py-spy took none of process {one.pid}: {why}"))
                continue
            counts = _COUNTS.search(one.ran.stdout.decode("utf-8", "replace") + one.ran.stderr)
            if counts is None:
                missing.append(Missing("profile.samples", f"py-spy did not say how many it lost of process {one.pid}"))
            lost += int(counts[2]) if counts else 0
            made.append(Made(one.path, "profile", "chrometrace", "application/json", _began(one)))
        if not made:
            raise ToolFailed(missing[0].reason)
        facts: dict[str, Any] = {"duration_s": min(first.looked_s, asked.duration_s), "invalid": lost}
        if isinstance(clocks, CpuClocks):
            facts["clocks"] = clocks
        return Collected(tuple(made), f"py-spy {pyspy.version()}", facts, pause_s, tuple(missing))

    def _command(self, pid: int, path: Path) -> list[str]:
        asked = self._asked
        command = [pyspy.find(), "record", "--pid", str(pid), "--output", str(path), "--format", "chrometrace"]
        command += ["--duration", str(asked.duration_s), "--rate", str(asked.rate_hz), "--threads", "--full-filenames"]
        # py-spy has no native frames without a stop.
        command += ["--native"] if asked.native else ["--nonblocking"]
        return command + {"cpu": [], "wall": ["--idle"], "gil": ["--gil"]}[asked.mode]


def _began(recorded: Recorded) -> float:
    """When the first event of its file was: py-spy counts from its own start on, and nothing may have run for long."""
    with recorded.path.open("rb") as file:
        first = _MOMENT.search(file.read(_HEAD_BYTES))
    return max(recorded.ran.looked_from, recorded.ran.started_at + (int(first[1]) / 1e6 if first else 0.0))


def _same_namespace(subject: Subject) -> bool:
    """Whether py-spy can tell which native thread is which.

    From 3.11 on it takes their numbers from the interpreter, which knows those of its own pid namespace. Before that it
    asks the kernel, and gives up in another mount namespace.
    """
    name = "ns/pid" if subject.version >= (3, 11) else "ns/mnt"
    with ProcFolder(subject.pid) as theirs, ProcFolder(os.getpid()) as ours:
        return theirs.identity(name) == ours.identity(name)
