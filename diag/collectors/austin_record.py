"""CPU and wall profiles of Python by austin: from outside, without a stop.

austin is under the GPL: its program is run, and nothing of it is imported.
"""

from __future__ import annotations

import re
from pathlib import Path

from diag.collectors import external
from diag.collectors.asked import ProfileAsked
from diag.collectors.children import pythons, record_each
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.proc import check_attachable, read_process
from diag.errors import ToolFailed, ToolMissing, WrongEngine, WrongRuntime
from diag.model import Missing

OLDEST, NEWEST = (3, 8), (3, 13)
_START_S = 2  # by itself austin gives up after 0.1 s, which a busy machine takes away
_INSTALL = "pip install 'austin-dist>=3.7,<4'"
_MOJO_MAJOR = 3  # austin 4 needs glibc 2.38, and writes another MOJO
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERRORS = re.compile(r"Error rate : (\d+)/(\d+)")


class AustinRecord:
    """`austin -b`, whose samples carry how long each lasted."""

    engine = "austin"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """austin is there and starts, and it is a CPython that it knows, in this mode, in this root."""
        if subject.language != "python":
            raise WrongRuntime(f"austin reads Python, and pid {subject.pid} is {subject.runtime or 'of unknown make'}.")
        if self._asked.native or self._asked.mode == "gil":
            raise WrongEngine("austin reads neither native frames nor who holds the GIL.", "--engine py-spy does.")
        if not OLDEST <= subject.version[:2] <= NEWEST:
            raise WrongEngine(f"austin knows CPython 3.8 to 3.13, and pid {subject.pid} is {subject.runtime}.")
        check_attachable(subject.pid)
        if read_process(subject.pid)[0].root != "/":
            raise WrongEngine("austin does not find the files of a process in another root.", "--engine py-spy does.")
        return (
            f"{version()} reads it from outside, without a stop; of short calls some stacks mix two moments, "
            "and threads have no names"
        )

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises ToolFailed where there are none."""
        asked, number = self._asked, version()
        pids = pythons(subject, subprocesses=asked.subprocesses)
        recorded = record_each(pids, self._command, folder / ".austin", asked, watch)
        made, missing, invalid, first = list[Made](), list[Missing](), 0, recorded[0].ran
        for one in recorded:
            said = _COLOURS.sub("", one.ran.stderr)
            if not one.path.exists() or not one.path.stat().st_size:
                missing.append(Missing("profile", f"austin took none of process {one.pid}: {said or one.ran.status}"))
                continue
            counts = _ERRORS.search(said)
            if counts is None:
                missing.append(Missing("profile.samples", f"austin did not say how many it lost of process {one.pid}"))
            invalid += int(counts[1]) if counts else 0
            made.append(Made(one.path, "profile", "mojo", "application/octet-stream", one.ran.looked_from))
        if not made:
            raise ToolFailed(missing[0].reason.capitalize(), "Try --engine py-spy.")
        facts = {"duration_s": min(first.looked_s, asked.duration_s), "invalid": invalid}
        return Collected(tuple(made), f"austin {number}", facts, incomplete=tuple(missing))

    def _command(self, pid: int, path: Path) -> list[str]:
        asked = self._asked
        command = [find(), "--pid", str(pid), "--binary", "--output", str(path), "--timeout", f"{_START_S}s"]
        command += ["--interval", str(round(1e6 / asked.rate_hz)), "--exposure", str(asked.duration_s)]
        # Idle samples are left out later: without them its clock stands still, and no request is found by the moment.
        return command + (["--full"] if asked.mode == "cpu" else [])


def find() -> str:
    """The path of austin. Raises ToolMissing."""
    path = external.find("austin")
    if path is None:
        raise ToolMissing("austin is not installed.", _INSTALL)
    return path


def version() -> str:
    """The version of an austin that runs here and whose files are known. Raises ToolMissing."""
    ran = external.run([find(), "--version"], timeout_s=external.STARTS_S)
    words = ran.stdout.decode("ascii", "replace").split()
    if ran.status != 0 or not words:
        raise ToolMissing(f"austin does not start here: {ran.stderr or f'exit status {ran.status}'}", _INSTALL)
    if words[-1].partition(".")[0] != str(_MOJO_MAJOR):
        raise ToolMissing(f"austin {words[-1]} writes a form of MOJO that diag does not read.", _INSTALL)
    return words[-1]
