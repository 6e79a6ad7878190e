"""One trial: a program runs without `diag` and with it, and what differs, or is left beside what is wanted, is told."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from instances import Ended, Machine
from machine import PROGRAMS, go_program
from moving import listed

from diag.agent import sampling
from faults import fault as names
from faults import invariants, residue
from faults.fault import Fault, Left
from faults.under import LIMIT_S, Under


@dataclass(frozen=True, slots=True)
class Got:
    """A record that was left: its manifest and its report."""

    manifest: dict[str, Any]
    report: dict[str, Any]

    @property
    def level(self) -> str:
        """Its level."""
        return str(self.manifest["level"])

    @property
    def cause(self) -> str:
        """Its verdict's cause."""
        return str(self.report["verdict"]["cause"])

    def fits(self, wanted: Left) -> bool:
        """Whether this is the record that was wanted."""
        verdict = self.report["verdict"]
        said = "\n".join([verdict["sentence"], *verdict["evidence"]])
        gaps = [gap["reason"] for gap in self.report["incomplete"]]
        return (
            (self.level, self.cause) == (wanted.level, wanted.cause)
            and wanted.says in said
            and wanted.confidence in ("", verdict["confidence"])
            and (not wanted.lacks or any(wanted.lacks in reason for reason in gaps))
        )

    def __str__(self) -> str:
        verdict = self.report["verdict"]
        return f"{self.level} {self.cause} ({verdict['confidence']}): {verdict['sentence']} {verdict['evidence']}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial left, and every sentence about what should not be so."""

    status: int
    got: tuple[Got, ...]
    wrong: tuple[str, ...]


def run(fault: Fault, python: str, library: str, under: Under) -> Outcome:
    """Run the fault on this Python, bare and under `diag run`, in a home of its own."""
    with _home() as home:
        variables = {**fault.environment, "SECRET_TOKEN": invariants.SECRET, "TMPDIR": str(home / "tmp")}
        machine = Machine(home, variables, limit_s=LIMIT_S)
        filled = {names.PYTHON: python, names.LIBRARY: library, names.PROGRAMS: str(PROGRAMS)}
        if names.GO in fault.command:
            filled[names.GO] = go_program("dying.go")
        command = [reduce(lambda text, name: text.replace(name, filled[name]), filled, word) for word in fault.command]
        began = time.monotonic()
        bare = _run(fault, machine, lambda folder: machine.run(*command, run=False, cwd=folder, start_new_session=True))
        lasts_s = time.monotonic() - began
        watched = _run(fault, machine, lambda folder: under.run(machine, command, lasts_s, folder))
        machine.close()
        behind = [*residue.left(machine)]
        if listed(machine.state, "spool/pending/**/manifest.json"):
            machine.diag("flush")  # an agent has a second to deliver; on a loaded machine the next diag goes on
        got, wrong = _read(machine)
        wrong += _not_wanted(fault, under, got)
        wrong += behind
        wrong += invariants.broken(machine, fault, bare, watched, got, killed=under.degrades, joined=under.joined)
        return Outcome(watched.ended.status, got, tuple(wrong))


def _read(machine: Machine) -> tuple[tuple[Got, ...], list[str]]:
    """Every record, and a sentence about each whose report is none."""
    got, wrong = [], []
    for manifest in machine.captures():
        try:
            got.append(Got(manifest, machine.report_of(manifest)))
        except AssertionError as mistakes:
            wrong.append(f"I4: {manifest['title']}: {mistakes}")
    return tuple(got), wrong


@contextmanager
def _home() -> Iterator[Path]:
    # Under a short name, because a Unix socket's path ends at 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="df", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(fault: Fault, machine: Machine, start: Callable[[Path], Ended]) -> invariants.Seen:
    folder = machine.home / "work"
    for path in (folder, machine.home / "tmp"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    for name, text in fault.texts().items():
        (folder / name).write_text(text)
    try:
        ended = start(folder)
    except subprocess.TimeoutExpired:
        ended = Ended(invariants.HANGS, "", "")
    return invariants.Seen(ended, invariants.content(folder), invariants.content(machine.home / "tmp"))


def _not_wanted(fault: Fault, under: Under, got: tuple[Got, ...]) -> Iterator[str]:
    left = fault.wanted(joined=under.joined)
    if under.degrades:
        yield from _too_many(fault, got)
    elif fault.sampled and sampling.WHOLE < len(got) < len(left):
        yield from _differences(left[: len(got)], got)
    else:
        yield from _differences(left, got)


def _differences(left: Sequence[Left], got: tuple[Got, ...]) -> Iterator[str]:
    """Which records are wanted and not there, and which are there and not wanted."""
    rest = list(got)
    for wanted in left:
        found = next((one for one in rest if one.fits(wanted)), None)
        if found is None:
            yield f"wanted {wanted.level} {wanted.cause} {wanted.confidence} {wanted.says!r} {wanted.lacks!r}"
        else:
            rest.remove(found)
    for one in rest:
        yield f"got {one}"


def _too_many(fault: Fault, got: tuple[Got, ...]) -> Iterator[str]:
    if len(got) > len(fault.left):
        yield f"{len(got)} records for {len(fault.left)} ends: {'; '.join(map(str, got))}"
