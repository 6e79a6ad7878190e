"""What a million captures that wait cost: to open the spool, to send, list, count, and to record one more."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from measure import PROGRAMS, Table, at_most, scratch

from diag.model import new_capture_id, now
from diag.spool.files import BLOCK
from diag.spool.shelf import Entry, Shelf

BUDGET_S, BUDGET_MB = 10.0, 60.0
SIZE_BYTES = 3 * BLOCK
LIKENESSES = 1000
ROWS = (  # title, what is done, how full the spool is
    ("nothing, for comparison", "nothing", 0.5),
    ("open, the first 100 to send", "send", 0.5),
    ("the newest 100, as diag ls", "list", 0.5),
    ("account, as diag flush", "account", 0.5),
    ("record one more", "record", 0.5),
    ("one is stored", "store", 0.5),
    ("recover, nothing left behind", "recover", 0.5),
    ("record one more, quota reached", "record", 1.0),
    ("and the next one", "record", 1.0),
)


def measure(*, quick: bool) -> list[Table]:
    """Each look by a process of its own, at a spool that was filled by hand."""
    count = 50_000 if quick else 1_000_000
    with scratch() as environment, tempfile.TemporaryDirectory(prefix="db-", dir=_memory()) as folder:
        root = Path(folder) / "spool"
        fill(root, count)
        rows = [_row(title, what, int(count * SIZE_BYTES / full), root, environment) for title, what, full in ROWS]
    notes = [
        f"Captures of one second each, {LIKENESSES:,} fingerprints, folders in memory as far as the kernel keeps them."
    ]
    return [Table(f"A spool with {count:,} captures waiting", ("", "s", "CPU s", "peak MB", "budget"), rows, notes)]


def _memory() -> str | None:
    """A file system in memory: to make a million folders on a disk takes longer than all the rest."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _row(title: str, what: str, quota_bytes: int, root: Path, environment: dict[str, str]) -> tuple[str, ...]:
    command = [sys.executable, str(PROGRAMS / "spool_look.py"), str(root), what, str(quota_bytes)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"{title} failed:\n{answer.stderr}")
    seconds, cpu_s, peak_mb = map(float, answer.stdout.split())
    verdict = f"{at_most(seconds, BUDGET_S, 's')}, {at_most(peak_mb, BUDGET_MB, 'MB')}"
    return title, f"{seconds:.2f}", f"{cpu_s:.2f}", f"{peak_mb:.0f}", verdict


def fill(root: Path, count: int) -> None:
    """So many captures, the last of them from now: their folders, empty, because nobody looks into one that waits."""
    chance = random.Random(1)
    shelves = [Shelf(root / "pending" / rank) for rank in ("crash", "report")]
    for number in range(count):
        moment = now() - timedelta(seconds=count - number)
        entry = Entry(new_capture_id(moment), SIZE_BYTES, chance.randrange(LIKENESSES))
        shelves[number % 2].path(entry.name).mkdir(mode=0o700, parents=True)
