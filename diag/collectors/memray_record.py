"""Allocations of a live Python by stack, from memray where the program can import it; the probe starts and ends it.

No debugger: memray's own `attach` calls functions in the process, which has hung and killed programs.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diag.collectors import external, questions
from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.keeping import Kept
from diag.collectors.mappings import Mappings
from diag.collectors.tracemalloc_record import GONE, STOP_PATIENCE_S, check_recorded
from diag.errors import ToolFailed, ToolMissing
from diag.model import Missing

OLDEST = (1, 17)  # it has a file format of sums, and can be kept from the program's stderr
IMPORT_PATIENCE_S = 30.0
READ_S = 120.0
MOST_BYTES = 1 << 30
SLOWDOWN = "what allocates much ran at about half of its speed meanwhile"
_ARENAS = "Objects below 512 bytes count where CPython took a block for many of them."
# What is asked of `memray transform`, by what the columns are called.
VIEWS = {"inuse": ["--leaks"], "peak": []}
_DIST_INFO = re.compile(r"memray-(\d+(?:\.\d+)*)\.dist-info")


class Memray:
    """A tracker in the process for a time, into one small file of sums; memray itself reads that afterwards."""

    engine = "memray"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is a Python with the probe in it, memray is among its packages, and beside diag to read its file."""
        check_recorded(self._asked, subject)
        version = installed(subject)
        if version is None:
            raise ToolMissing(
                f"memray is not among the packages of process {subject.pid} ({subject.prefix or 'unknown place'}).",
                f"Where the program runs: pip install 'memray>={_dotted(OLDEST)}'",
            )
        if _numbers(version) < OLDEST:
            words = f"memray {version} of process {subject.pid} is too old."
            raise ToolMissing(words, f"Where the program runs: pip install -U 'memray>={_dotted(OLDEST)}'")
        check_beside(version)
        return (
            f"memray {version} in the program tracks every allocation for {self._asked.recorded_s} s; what allocates "
            "much runs at about half of its speed meanwhile"
        )

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """What was allocated and not given back, and what there was at the peak. Raises ToolFailed, ToolMissing, …"""
        with _file(subject) as path:
            with Mappings(subject, twice=True) as mappings, Kept(subject, "memray", file=path) as kept:
                started = kept.ask("start", {"file": str(path)}, patience_s=IMPORT_PATIENCE_S)
                began_at = time.time()
                seconds = watch.wait(subject, self._asked.recorded_s, "memray tracks its allocations")
                ended = kept.end("end", patience_s=STOP_PATIENCE_S)
            copy = folder / ".memray.bin"
            if ended:
                _copy(path, copy)
        with questions.making_sense("memray"):
            version = str(started["version"])
        made, missing = list[Made](), tuple[Missing, ...]()
        try:
            made += [_view(name, copy, version, began_at) for name in VIEWS] if ended else ()
        except (ToolFailed, ToolMissing) as error:
            missing = (Missing("memory.allocations", f"{error} {error.help_text}"),)
        copy.unlink(missing_ok=True)
        missing += () if ended else (GONE,)
        facts = {"mappings": mappings.told(), "duration_s": seconds, "slowdown": SLOWDOWN, "note": _ARENAS}
        return Collected(tuple(made), f"memray {version}", facts, kept.held_s, (*missing, *mappings.missing))


def installed(subject: Subject) -> str | None:
    """The version of memray in the process's own environment, as the names of its folders tell it."""
    if not subject.prefix:
        return None
    for folder in Path(f"/proc/{subject.pid}/root{subject.prefix}").glob("lib*/python3.*/*-packages"):
        with suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  names are wanted, not paths
                if found := _DIST_INFO.fullmatch(name):
                    return found[1]
    return None


def beside(version: str) -> str:
    """memray beside diag. Raises ToolMissing."""
    path = external.find("memray")
    if path is None:
        raise ToolMissing("memray is not beside diag, and nothing else reads its files.", _advice(version))
    return path


def check_beside(version: str) -> None:
    """Whether that reads what this version writes: files of its own version alone. Raises ToolMissing."""
    ran = external.run([beside(version), "--version"], timeout_s=READ_S)
    own = ran.stdout.decode("utf-8", "replace").strip()
    if own.split(".")[:2] != version.split(".")[:2]:
        words = f"memray is {version} in the program and {own or 'unknown'} beside diag, which cannot read its files."
        raise ToolMissing(words, _advice(version))


def _advice(version: str) -> str:
    return f"Where diag is: pip install memray=={version}"


@contextmanager
def _file(subject: Subject) -> Iterator[Path]:
    """An empty file that the process may write; it is gone afterwards.

    It stands in the instance's run folder, so that what is left of a killed diag goes with the instance.
    """
    assert subject.run_dir is not None
    path = subject.run_dir / f"memray.{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            owner = subject.run_dir.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        yield path
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _copy(path: Path, copy: Path) -> None:
    """What the process has written, in a file of ours. Raises ToolFailed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as source, copy.open("wb") as target:  # noqa: PTH123  a descriptor
        size = os.fstat(descriptor).st_size
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not 0 < size <= MOST_BYTES:
            raise ToolFailed(f"memray's file has {size} bytes: it is not kept.")
        shutil.copyfileobj(source, target)


def _view(name: str, file: Path, version: str, began_at: float) -> Made:
    """What memray makes of its file. Raises ToolFailed."""
    path = file.with_name(f".memray.{name}.csv")
    command = [beside(version), "transform", "csv", "-f", "-o", str(path), *VIEWS[name], str(file)]
    ran = external.run(command, timeout_s=READ_S)
    if ran.status != 0 or not path.exists():
        said = ran.stderr or ran.stdout.decode("utf-8", "replace")[-200:] or f"exit status {ran.status}"
        raise ToolFailed(f"memray cannot read what memray {version} wrote: {said}")
    return Made(path, "profile", f"memray {name}", "text/csv", began_at)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
