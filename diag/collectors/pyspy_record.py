"""CPU and wall profiles of Python by py-spy: from outside, without a stop unless native frames are asked for."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

from diag.collectors import external, pyspy
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.pause import PauseEstimate
from diag.collectors.proc import check_attachable
from diag.errors import ToolFailed, ToolMissing, WrongEngine
from diag.model import Missing

NEWEST = (3, 15)
GRACE_S = 20.0
_COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")


class PySpyRecord:
    """`py-spy record`, as a Chrome trace: it alone keeps when each stack was seen, and in which thread."""

    engine = "py-spy"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """py-spy is there, the process may be read, and it is a CPython that py-spy knows."""
        if subject.language != "python":
            raise WrongEngine(f"py-spy reads Python, and pid {subject.pid} is {subject.runtime or 'of unknown make'}.")
        check_attachable(subject.pid)
        if subject.version[:2] > NEWEST:
            raise ToolMissing(f"py-spy does not know {subject.runtime} yet.", "pip install -U py-spy")
        pyspy.find()
        if not self._asked.native:
            return "py-spy reads it from outside, without a stop"
        if subject.standing:
            raise WrongEngine(
                f"The process is {subject.standing}, and native frames would take hold of it.", "Leave out --native."
            )
        return "py-spy reads it from outside; for native frames it stops the process at each sample"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises ToolFailed where there are none."""
        asked, path = self._asked, folder / "py-spy.chrometrace.json"

        def enough(elapsed_s: float) -> bool:
            watch.show(elapsed_s / asked.duration_s, f"about {int(elapsed_s * asked.rate_hz)} samples")
            return watch.stop.is_set()

        watching = PauseEstimate(subject.pid) if asked.native else nullcontext()
        with watching:
            ran = external.record(
                self._command(subject, path),
                limit_s=asked.duration_s + GRACE_S,
                grace_s=GRACE_S,
                enough=enough,
                environment={"RUST_BACKTRACE": "0"},
            )
        pause_s = watching.pause_s if isinstance(watching, PauseEstimate) else 0.0
        counts = _COUNTS.search(ran.stdout.decode("utf-8", "replace") + ran.stderr)
        if not path.exists() or not path.stat().st_size:
            raise ToolFailed(f"py-spy took no profile of process {subject.pid}: {ran.stderr or ran.status}")
        taken, lost = (int(counts[1]), int(counts[2])) if counts else (None, None)
        missing = () if counts else (Missing("profile.samples", "py-spy did not say how many samples were lost"),)
        facts = {"samples": taken, "invalid": lost, "started": ran.looked_from}
        facts["duration_s"] = min(ran.looked_s, asked.duration_s)
        made = Made(path, "profile", "chrometrace", "application/json")
        return Collected((made,), f"py-spy {pyspy.version()}", facts, pause_s, missing)

    def _command(self, subject: Subject, path: Path) -> list[str]:
        asked = self._asked
        command = [pyspy.find(), "record", "--pid", str(subject.pid), "--output", str(path), "--format", "chrometrace"]
        command += ["--duration", str(asked.duration_s), "--rate", str(asked.rate_hz), "--threads"]
        command += ["--full-filenames"]
        # py-spy has no native frames without a stop.
        command += ["--native"] if asked.native else ["--nonblocking"]
        command += {"cpu": [], "wall": ["--idle"], "gil": ["--gil"]}[asked.mode]
        return command + (["--subprocesses"] if asked.subprocesses else [])
