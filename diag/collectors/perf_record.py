"""CPU profiles of native and mixed programs by perf: the kernel samples, and nothing is stopped."""

from __future__ import annotations

import os
from pathlib import Path

from diag.collectors import external
from diag.collectors.asked import ProfileAsked
from diag.collectors.children import with_descendants
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.permissions import may_sample
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder, parse_status
from diag.errors import CannotAttach, NoSuchInstance, ToolFailed, ToolMissing, WrongEngine
from diag.model import Missing

GRACE_S = 30.0
SCRIPT_S = 300.0
MOST_DATA = "512M"  # with copies of the stack a sample has 8 KB
MAP_BYTES = 64 * 1024 * 1024
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_FIELDS = "comm,pid,tid,time,period,event,ip,sym,dso"
_FRAME_POINTERS = ("node", "go")  # compiled code that carries no unwinding tables, and keeps frame pointers
_INSTALL = "apt-get install linux-perf"
_UNNAMED = {
    "python": "; Python's functions are named only from 3.12 on, where it was started with -X perf",
    "node": "; JavaScript is named only where Node was started with --perf-basic-prof",
}
_ADVICE = "As root: sysctl kernel.perf_event_paranoid=1, or run diag with CAP_PERFMON (docker: --cap-add=PERFMON)."


class PerfRecord:
    """`perf record` by the clock of the CPU, which needs no hardware counter, and then `perf script`."""

    engine = "perf"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """perf is there, fits this kernel, and may sample this process."""
        if self._asked.mode != "cpu":
            raise WrongEngine("perf samples what runs, not what waits.", "Ask for --mode cpu.")
        check_attachable(subject.pid)
        perf = find()
        # What may be sampled depends on the kernel, its settings, capabilities and seccomp: only trying tells.
        ran = external.run([perf, "stat", "-e", "cpu-clock:u", "--", "true"], timeout_s=external.STARTS_S)
        if ran.status != 0:
            level = _PARANOID.read_text().strip() if _PARANOID.exists() else None
            if level is not None and not may_sample():
                raise CannotAttach(f"perf may not sample here: kernel.perf_event_paranoid is {level}.", _ADVICE)
            raise ToolMissing(f"perf does not work with this kernel: {ran.stderr}", _INSTALL)
        unnamed = "" if names_of(subject.pid) else _UNNAMED.get(subject.language, "")
        return f"the kernel samples it, without a stop: native frames by {_unwinding(subject)}{unnamed}"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time; there may be none."""
        asked, path, text = self._asked, folder / ".perf.data", folder / ".perf.txt"

        def enough(elapsed_s: float) -> bool:
            watch.show(elapsed_s / asked.duration_s, "")
            return watch.stop.is_set() or elapsed_s >= asked.duration_s

        ran = external.record(
            self._command(subject, path), limit_s=asked.duration_s + GRACE_S, grace_s=GRACE_S, enough=enough
        )
        if not path.exists() or not path.stat().st_size:
            raise ToolFailed(f"perf took no profile of process {subject.pid}: {ran.stderr or ran.status}")
        try:
            self._print(path, text)
        finally:
            path.unlink()
        facts = {
            "duration_s": min(ran.took_s, asked.duration_s),
            "maps": {pid: lines for pid in self._pids(subject) if (lines := names_of(pid))},
            "root": f"/proc/{subject.pid}/root",
        }
        missing = (
            (Missing("profile.samples", "perf did not end in time, and was killed"),) if ran.status is None else ()
        )
        made = Made(text, "profile", "perf", "text/plain", ran.started_at)
        return Collected((made,), f"perf {version()}", facts, incomplete=missing)

    def _command(self, subject: Subject, path: Path) -> list[str]:
        asked = self._asked
        pids = ",".join(map(str, self._pids(subject)))
        command = [find(), "record", "--quiet", "--pid", pids, "--output", str(path), "--freq", str(asked.rate_hz)]
        command += ["--event", "cpu-clock" if may_sample(kernel=True) else "cpu-clock:u"]
        # The clock that requests have; and no copy of the program's files in the user's ~/.debug.
        command += ["--clockid", "CLOCK_REALTIME", "--no-buildid-cache", "--max-size", MOST_DATA]
        return [*command, "--call-graph", "fp" if _unwinding(subject) == "frame pointers" else "dwarf"]

    def _pids(self, subject: Subject) -> list[int]:
        return with_descendants(subject.pid) if self._asked.subprocesses else [subject.pid]

    def _print(self, path: Path, text: Path) -> None:
        # Inlined functions are looked up by starting addr2line for each address, which takes minutes.
        command = [find(), "script", "--input", str(path), "--fields", _FIELDS, "--ns", "--no-inline"]
        ran = external.run([*command, "--show-lost-events", "--force"], timeout_s=SCRIPT_S)
        if ran.status != 0:
            raise ToolFailed(f"perf could not print what it recorded: {ran.stderr or ran.status}")
        text.write_bytes(ran.stdout)


def find() -> str:
    """The path of perf. Raises ToolMissing."""
    path = external.find("perf")
    if path is None:
        raise ToolMissing("perf is not installed; native stacks are sampled with it.", _INSTALL)
    return path


def version() -> str:
    """The version that perf says it is, such as "6.1.187"."""
    words = external.run([find(), "--version"], timeout_s=external.STARTS_S).stdout.decode("ascii", "replace").split()
    return words[-1] if words else ""


def names_of(pid: int) -> str:
    """What the process says in /tmp/perf-PID.map of the code that it made itself; empty where it has no such file.

    It stands in the process's own root and has its pid there. A file of another user is not believed.
    """
    try:
        with ProcFolder(pid) as folder:
            status = parse_status(folder.text("status"))
            inside = status.get("NSpid", str(pid)).split()[-1]
            file = folder.open(f"root/tmp/perf-{inside}.map")
    except (OSError, NoSuchInstance):
        return ""
    with os.fdopen(file, "rb") as opened:
        owner = os.fstat(file).st_uid
        if str(owner) not in (*status.get("Uid", "").split(), "0"):
            return ""
        return opened.read(MAP_BYTES).decode("utf-8", "replace")


def _unwinding(subject: Subject) -> str:
    """How stacks are walked. What is compiled on the way has only frame pointers; what a compiler made has tables."""
    walks = subject.language in _FRAME_POINTERS or bool(names_of(subject.pid))
    return "frame pointers" if walks else "unwinding tables"
