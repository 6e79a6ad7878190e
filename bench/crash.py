"""From the fault to the process being gone, and to a complete report, beside what else there is."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import DIAG, PATIENCE_S, PROGRAMS, Table, at_most, by_chance, median, rest, scratch, started

GONE_BUDGET_MS = {"raise": 20, "segv": 150}
HARD_LIMIT_MS = 2000


@dataclass(frozen=True)
class Case:
    """How a program dies, and what it is made of."""

    title: str
    how: str
    threads: int = 1
    heap_mb: int = 0


@dataclass(frozen=True)
class Death:
    """Milliseconds since the fault. `report` is None where none is made; `returned` is when our child had ended."""

    gone: float
    report: float | None
    returned: float


@dataclass(frozen=True)
class Peer:
    """A command that dies; `complete` says whether its report is whole, `after` makes one of what is left."""

    command: list[str]
    complete: Callable[[], bool] | None = None
    after: Callable[[], None] | None = None
    at_death: bool = False  # the report is written by the dying process itself


CASES = (
    Case("SIGSEGV, 1 thread", "segv"),
    Case("SIGSEGV, 50 threads", "segv", threads=50),
    Case("SIGSEGV, 500 threads", "segv", threads=500),
    Case("SIGSEGV, 1 thread, 1 GB heap", "segv", heap_mb=1024),
    Case("Exception, 1 thread", "raise"),
)


def measure(*, quick: bool) -> list[Table]:
    """One table a case."""
    notes = [sentence for sentence in (why_no_core(), why_no_node()) if sentence]
    return [_one_case(case, _samples(case, quick), notes) for case in CASES]


def _samples(case: Case, quick: bool) -> int:
    if case.how == "raise":
        return 5 if quick else 15
    return 2 if quick else 4 if case.heap_mb or case.threads > 50 else 7


def _one_case(case: Case, samples: int, notes: list[str]) -> Table:
    peers = [name for name in PEERS if _applies(name, case)]
    deaths: dict[str, list[Death]] = {name: [] for name in peers}
    for _ in range(samples):
        for name in by_chance(peers):
            deaths[name].append(die_once(name, case))
    bare = median(death.gone for death in deaths["bare"])
    rows = [_row(name, deaths[name], bare, GONE_BUDGET_MS[case.how]) for name in peers]
    columns = ("ms from the fault to", "gone", "added", "report", "returned", "budget")
    return Table(case.title, columns, rows, [f"Medians of {samples} deaths each, in turns.", *notes])


def _row(name: str, deaths: list[Death], bare: float, budget: float) -> tuple[str, ...]:
    gone, returned = median(d.gone for d in deaths), median(d.returned for d in deaths)
    reports = [d.report for d in deaths if d.report is not None]
    verdict = ""
    if name == "diag run":
        verdict = at_most(gone - bare, budget, "ms added")
        if max(d.gone for d in deaths) > HARD_LIMIT_MS:
            verdict += f", over {HARD_LIMIT_MS} ms once"
    added = "" if name in ("bare", "node report") else f"{gone - bare:.1f}"
    report = f"{median(reports):.1f}" if reports else "–"
    return name, f"{gone:.1f}", added, report, f"{returned:.1f}", verdict


def die_once(name: str, case: Case) -> Death:
    """Start the program under the peer, let it die, and watch."""
    with scratch() as environment:
        home = Path(environment["HOME"])
        peer = PEERS[name](case, home)
        environment["PYTHONPATH"] = str(PROGRAMS)
        with started(peer.command, environment, cwd=home) as process:
            assert process.stdin is not None and process.stdout is not None
            pid = int(process.stdout.readline() or 0)
            if pid == 0:
                raise SystemExit(f"{name} did not start:\n{(home / 'stderr').read_text()}")
            pidfd = os.pidfd_open(pid)
            try:
                rest(process.pid)
                process.stdin.write(b"\n")
                process.stdin.flush()
                gone, report = _watch(pidfd, peer.complete)
            finally:
                os.close(pidfd)
            process.wait(PATIENCE_S)
            returned = time.monotonic_ns()
            fault = int(process.stdout.readline())
            if peer.at_death:
                report = gone
            if peer.after is not None:
                began = time.monotonic_ns()
                peer.after()
                report = gone + time.monotonic_ns() - began
        return Death(*((at - fault) / 1e6 if at is not None else None for at in (gone, report, returned)))


def _watch(pidfd: int, complete: Callable[[], bool] | None) -> tuple[int, int | None]:
    """When the process was gone and when its report was complete, in ns of CLOCK_MONOTONIC; looks every millisecond."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    gone = report = None
    until = time.monotonic() + PATIENCE_S
    while gone is None or (complete is not None and report is None):
        if time.monotonic() > until:
            raise SystemExit(f"Waited {PATIENCE_S:.0f} s in vain for a death and its report.")
        if gone is None and poll.poll(1):
            gone = time.monotonic_ns()
        elif gone is not None:
            time.sleep(0.001)
        if complete is not None and report is None and complete():
            report = time.monotonic_ns()
    return gone, report


def _program(case: Case, *extra: str) -> list[str]:
    return [sys.executable, str(PROGRAMS / "die.py"), case.how, str(case.threads), str(case.heap_mb), *extra]


def _bare(case: Case, _: Path) -> Peer:
    return Peer(_program(case))


def _diag(case: Case, home: Path) -> Peer:
    spool = home / ".local/state/diag/spool"

    def committed() -> bool:
        return any(any(spool.glob(where)) for where in ("pending/crash/*/*", "completed/*"))

    return Peer([*DIAG, "run", "--", *_program(case)], committed)


def _faulthandler(case: Case, home: Path) -> Peer:
    return Peer(_program(case, "faulthandler", str(home / "text")), at_death=True)


def _core(case: Case, home: Path) -> Peer:
    def read_core() -> None:
        core = next(home.glob("core*"), None)
        if core is None:
            raise SystemExit("The kernel wrote no core file.")
        pystack = str(Path(sys.executable).parent / "pystack")
        with (home / "report").open("wb") as report:
            subprocess.run(
                [pystack, "core", str(core), sys.executable], stdout=report, stderr=subprocess.STDOUT, timeout=60
            )
        if b"die.py" not in (home / "report").read_bytes():
            raise SystemExit(f"pystack found nothing in the core file:\n{(home / 'report').read_text()[-1000:]}")

    return Peer(_program(case, "core"), after=read_core)


def _sentry(case: Case, _: Path) -> Peer:
    return Peer(_program(case, "sentry"))


def _node(case: Case, home: Path) -> Peer:
    flags = ["--report-uncaught-exception", f"--report-directory={home}"]
    command = [str(shutil.which("node")), *flags, str(PROGRAMS / "die.js"), str(case.heap_mb)]

    def complete() -> bool:
        with contextlib.suppress(StopIteration, ValueError):
            json.loads(next(home.glob("report.*.json")).read_text())
            return True
        return False

    return Peer(command, complete)


PEERS: dict[str, Callable[[Case, Path], Peer]] = {
    "bare": _bare,
    "diag run": _diag,
    "faulthandler text": _faulthandler,
    "core file, pystack": _core,
    "sentry-sdk": _sentry,
    "node report": _node,
}


def _applies(name: str, case: Case) -> bool:
    if name == "node report":
        return why_no_node() is None and case.threads == 1
    if name == "core file, pystack":
        return why_no_core() is None and case.how == "segv"
    return {"faulthandler text": "segv", "sentry-sdk": "raise"}.get(name, case.how) == case.how


def why_no_core() -> str | None:
    """Why the core file is not measured, or None. The machine's own setting is looked at, never changed."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        return "No core file: the hard limit of `ulimit -c` is not unlimited."
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not pattern.startswith("core"):
        return f"No core file: kernel.core_pattern is {pattern!r}; with `core` it would be measured."
    return None


def why_no_node() -> str | None:
    """Why Node is not measured, or None."""
    return None if shutil.which("node") else "No Node report: node is not installed."
