"""What the kernel starts for a process that dumps core: the core comes on standard input, and /proc still shows it.

It stands alone: no agent has to live. It writes one record into the spool, from which an agent or the next `diag` sends
it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from diag import config
from diag.agent import blackbox, registry
from diag.agent.core_pattern import Options, read_options
from diag.agent.registry import Target
from diag.capture import cores, reports
from diag.collectors import proc
from diag.collectors.procfs import ProcFolder, parse_environment
from diag.config import Settings
from diag.errors import DiagError
from diag.evidence import Evidence, ProcessFacts
from diag.model import Link
from diag.probe.diag_probe import layout

_BLOCK = 1 << 16
_LOG_BYTES = 64 * 1024
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Crash:
    """What the kernel says of it."""

    pid: int
    signal: int


def main(options_path: str, words: list[str]) -> None:
    """The program. Whatever fails, the kernel is let go, and the process can end."""
    occupy_output()
    options, environment = read_options(Path(options_path))
    settings = config.load(environ=environment)
    crash = Crash(*(int(word) for word in words[:2]))
    try:
        outcome = handle(crash, settings, options, core=0)
    except DiagError as error:
        outcome = f"not recorded: {error}"
    except Exception as error:  # noqa: BLE001  nobody reads what a program of the kernel's raises
        outcome = f"not recorded, by a defect of diag: {type(error).__name__}: {error}"
    _note(settings, f"pid {crash.pid}, signal {crash.signal}: {outcome}")


def handle(crash: Crash, settings: Settings, options: Options, *, core: int) -> str:
    """Make the record of one crash, whose core can be read from the descriptor; returns what was done, in words.

    A process that an agent watches has its record from there, so none is made of it. Raises DiagError.
    """
    with ProcFolder(crash.pid) as folder:
        variables = parse_environment(folder.read("environ"))
        facts, missing = proc.read_process(crash.pid)
    watched = _watched(variables, settings, crash.pid, proc.start_ticks(crash.pid))
    if watched is not None and registry.alive(watched.agent_pid, watched.agent_start_ticks):
        return "left to the agent that watches it"
    earlier = _claim(settings, options, facts, crash)
    if earlier is None:
        return "counted: too many of the same in this minute"
    with _taken(core, settings, options) as path:
        evidence = cores.evidence_of(path, Path(f"/proc/{crash.pid}/exe"), settings, with_locals=settings.locals)
        evidence = _with_links(cores.with_process(evidence, facts, missing), watched, crash.pid)
        prepared = reports.prepare(evidence, settings=settings, kind="crash")
        reports.keep(replace(prepared, capture=replace(prepared.capture, repeats=earlier)), settings=settings)
        if options.keep_cores:
            path.rename(settings.state_dir / "cores" / f"{evidence.capture_id}.core")
        return f"recorded as {evidence.capture_id}"


def occupy_output() -> None:
    """The kernel gives its helpers a standard input only: nothing that is opened may become another."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(nowhere, number)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  the descriptor stays
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _watched(variables: dict[str, str], settings: Settings, pid: int, ticks: int) -> Target | None:
    """The instance that the process is of: as its first process, or linked by a probe. Its agent may have died."""
    # Under `diag run` of another user its folder is beside the door; of a `diag agent` it is among ours.
    beside = registry.in_folder(Path(variables.get(layout.ENV_SOCKET, "/")).parent)
    for target in [*([beside] if beside else []), *registry.published(settings)]:
        assert target.run_dir is not None
        first = (target.pid, target.start_ticks) == (pid, ticks)
        if first or registry.box_path(target.run_dir, pid, ticks).exists():
            return target
    return None


def _with_links(evidence: Evidence, watched: Target | None, pid: int) -> Evidence:
    """With what the black box of a process says whose agent has died."""
    box = registry.black_box(watched.run_dir, pid) if watched else None
    witness = blackbox.read(box) if box else None
    if witness is None:
        return evidence
    links = dict.fromkeys(request.link for request in witness.in_flight if request.link != Link())
    gaps = tuple(gap for gap in evidence.incomplete if gap.section != "recent")
    return replace(evidence, witness=witness, links=tuple(links), incomplete=gaps)


def _claim(settings: Settings, options: Options, facts: ProcessFacts, crash: Crash) -> int | None:
    """How many crashes of this program were only counted since its last record; None where this is one of them."""
    name = hashlib.sha256(f"{facts.executable}\0{crash.signal}".encode(errors="replace")).hexdigest()[:16]
    folder = settings.run_dir / "cores"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        words = file.read().split()
        counted, times = int(words[0]) if words else 0, [float(word) for word in words[1:]]
        now_s = time.monotonic()
        recent = [moment for moment in times if 0 <= now_s - moment < _MINUTE_S]
        allowed = len(recent) < options.a_minute
        after = [0, *recent, now_s] if allowed else [counted + 1, *recent]
        file.seek(0)
        file.truncate()
        file.write(" ".join(map(str, after)))
    return counted if allowed else None


@contextmanager
def _taken(core: int, settings: Settings, options: Options) -> Iterator[Path]:
    """The core in a file, as far as its limits go; it is gone afterwards, unless it was moved away."""
    folder = settings.state_dir / "cores"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".taken-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            until = time.monotonic() + options.most_s
            zeros = bytes(_BLOCK)
            size = 0
            while size < options.most_bytes and time.monotonic() < until and (block := os.read(core, _BLOCK)):
                size += len(block)
                if block == zeros[: len(block)]:
                    file.seek(len(block), os.SEEK_CUR)  # a hole: much of a core is memory that nobody wrote to
                else:
                    file.write(block)
            file.truncate(size)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _note(settings: Settings, line: str) -> None:
    """Add a line to the handler's log, which starts anew where it is long."""
    path = settings.state_dir / "core-handler.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = "a" if not path.exists() or path.stat().st_size < _LOG_BYTES else "w"
        with path.open(mode) as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
    except OSError:
        return
