"""What holds after every trial, whatever died and however."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from instances import Ended, Machine

from diag.config import Settings
from diag.spool import Spool
from faults.fault import Fault

if TYPE_CHECKING:
    from faults.trial import Got

HANGS = -999  # the status of what did not end in time
SECRET = "hunter2-" + "planted" * 3  # stands in each program's environment
_OURS = re.compile(r"^diag: .*\n", re.MULTILINE)
_VARIES = re.compile(r"0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Seen:
    """How a run ended, and what stands in the program's folder and in its folder for temporary files afterwards."""

    ended: Ended
    folder: Mapping[str, str]
    temporary: Mapping[str, str]


def content(folder: Path) -> dict[str, str]:
    """The sum of each file below the folder, by its path in there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def broken(
    machine: Machine, fault: Fault, bare: Seen, watched: Seen, got: Sequence[Got], *, killed: bool, joined: bool
) -> Iterator[str]:
    """A sentence for each other invariant that does not hold. With `killed` nobody was there to pass on a status; who
    `joined` ends as without us, and the agent has a stderr of its own."""
    crashes = sum(one.manifest["kind"] == "crash" for one in got)
    if killed:
        yield from _unharmed(fault, bare, watched)
    else:
        yield from _transparent(fault, bare, watched, lines=0 if joined else crashes, joined=joined)
    yield from _whole(machine, got)
    yield from _private(machine)
    yield from _counted(machine, got, len(fault.left) if fault.sampled and not killed else len(got), killed=killed)


def _transparent(fault: Fault, bare: Seen, watched: Seen, *, lines: int, joined: bool) -> Iterator[str]:
    if HANGS in (bare.ended.status, watched.ended.status):
        yield f"I2: it hangs {'also without diag' if bare.ended.status == HANGS else 'with diag'}"
    status = bare.ended.status if bare.ended.status >= 0 or joined else 128 - bare.ended.status
    if watched.ended.status != status:
        yield f"I1: exit status {watched.ended.status}, without diag {status}"
    if watched.ended.stdout != bare.ended.stdout and not fault.talks:
        yield f"I1: stdout {watched.ended.stdout[-300:]!r}, without diag {bare.ended.stdout[-300:]!r}"
    said, theirs = watched.ended.stderr, _VARIES.sub("0x", bare.ended.stderr)
    ours = _OURS.findall(said)
    rest = _VARIES.sub("0x", _OURS.sub("", said))
    if rest != theirs and not fault.talks:
        yield f"I1: stderr {rest[-500:]!r}, without diag {theirs[-500:]!r}"
    if len(ours) != lines:
        yield f"I1: {len(ours)} lines of ours instead of {lines}: {ours}"
    yield from _same_files(bare, watched)


def _same_files(bare: Seen, watched: Seen) -> Iterator[str]:
    if (watched.folder, watched.temporary) != (bare.folder, bare.temporary):
        yield f"I9: {watched.folder} {watched.temporary}, without diag {bare.folder} {bare.temporary}"


def _unharmed(fault: Fault, bare: Seen, watched: Seen) -> Iterator[str]:
    """It did what it does, unless it was killed before it was started."""
    if watched.ended.status == HANGS:
        yield "I2: it hangs with a killed agent"
    if watched.ended.stdout not in ("", bare.ended.stdout) and not fault.talks:
        yield f"I1: stdout {watched.ended.stdout[-300:]!r}, without diag {bare.ended.stdout[-300:]!r}"


def _whole(machine: Machine, got: Sequence[Got]) -> Iterator[str]:
    ids = [one.manifest["capture_id"] for one in got]
    if len(set(ids)) != len(ids):
        yield f"I8: a capture is there twice: {ids}"
    for one in got:
        for artifact in one.manifest["artifacts"]:
            content = machine.artifact(one.manifest, artifact["name"])
            if hashlib.sha256(content).hexdigest() != artifact["sha256"]:
                yield f"I4: {artifact['name']} of {one.manifest['capture_id']} does not fit its checksum"


def _private(machine: Machine) -> Iterator[str]:
    for path in machine.state.rglob("*"):
        wanted = 0o600 if path.is_file() else 0o700
        if path.stat().st_mode & 0o777 != wanted:
            yield f"I6: {path} has mode {path.stat().st_mode & 0o777:o}"
        if path.is_file() and SECRET.encode() in path.read_bytes():
            yield f"I6: the planted secret stands in {path}"


def _counted(machine: Machine, got: Sequence[Got], ends: int, *, killed: bool) -> Iterator[str]:
    spool = Spool.of(Settings(state_dir=machine.state))
    if not spool.is_there():
        return
    account = spool.account()
    empty = account.dropped.pop("empty", 0) if killed else 0  # drafts in which nothing stood yet
    sampled = {"sampled": ends - len(got)} if ends > len(got) else {}
    if (account.received - empty, account.stored, account.dropped) != (ends, len(got), sampled):
        yield f"I7: {len(got)} records of {ends} ends, but {account}"
