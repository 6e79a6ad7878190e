"""Several agents share one spool, some of them killed at any moment: everything is counted once."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from killing import spawn
from machine import TIMEOUT_S
from spooled import MIB, make_capture

from diag.errors import CorruptCapture, NoSuchCapture, SpoolUnwritable
from diag.spool import Spool, files, id_of

KINDS = ("crash", "crash", "event", "report", "profile")
WRITERS, SETTLERS, KILLS = 4, 3, 25


class Journal:
    """A file of lines that every process appends to, outside of the spool: what was tried, and what was promised."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, word: str, capture_id: str) -> None:
        """Append one line in one piece."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{word} {capture_id}\n".encode())
        os.close(descriptor)

    def ids(self, word: str) -> set[str]:
        """All that were noted under this word."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return {line.split()[1] for line in lines if line.startswith(f"{word} ")}


def _write(root: Path, journal: Journal, seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    spool = Spool(root, 2 * MIB, 0)  # too small for all of it, so that they evict each other's
    for _ in range(rounds):
        capture = make_capture(chance.choice(KINDS), fingerprint=chance.choice("abcd"))
        journal.note("begun", capture.capture_id)
        if chance.random() < 0.1:
            with spool.begin(capture):
                continue
        try:
            with spool.begin(capture) as draft:
                content = b"x" * chance.choice((100, 20_000, 90_000))
                draft.add("report.json", "report", "json", "application/json", content)
                draft.commit(capture)
        except SpoolUnwritable as error:
            assert "quota" in str(error), error
        else:
            journal.note("kept", capture.capture_id)


def _settle(root: Path, journal: Journal, seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    spool = Spool(root, 2 * MIB, 0)
    for _ in range(rounds):
        spool.recover()
        for folder in spool.pending():
            word = chance.choice(("stored", "dropped", "aside", "left", "left"))
            try:
                spool.load(folder)
            except NoSuchCapture:
                continue
            except CorruptCapture:
                assert not folder.is_dir(), f"{folder} is damaged"
                continue
            if word == "stored":
                journal.note("stored", id_of(folder))
                spool.stored(id_of(folder))
            elif word == "dropped":
                spool.drop(id_of(folder), "test")
            elif word == "aside":
                spool.quarantine(id_of(folder), "test")
            if chance.random() < 0.2:
                break
        spool.account()


def _crowd(jobs: Sequence[Callable[[], None]], kills: int) -> list[int]:
    """Run these at once, kill some of them at any moment and begin those anew; returns the statuses."""
    chance = random.Random(3)
    running: dict[int, int] = {}
    doing: dict[int, Callable[[], None]] = {}
    statuses = []

    def start(job: Callable[[], None]) -> None:
        pid = spawn(job)
        running[pid], doing[pid] = os.pidfd_open(pid), job

    for job in jobs:
        start(job)
    while running:
        ready = select.select(list(running.values()), [], [], chance.random() * 0.2 if kills else 2 * TIMEOUT_S)[0]
        assert ready or kills, "they hang"
        if kills and not ready:
            kills -= 1
            killed = chance.choice(list(running))
            os.kill(killed, signal.SIGKILL)
            start(doing[killed])  # so that as much is written in the end, however slow the machine is
        for pid in [pid for pid, pidfd in running.items() if pidfd in ready]:
            os.close(running.pop(pid))
            statuses.append(os.waitpid(pid, 0)[1])
            if kills and not running:
                start(doing[pid])  # a fast machine is not through before there was something to kill
    return statuses


def test_writers_settlers_and_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After writers, uploaders, evictions, recoveries and SIGKILL at any moment, the books balance to the last one."""
    monkeypatch.setattr(files, "LOCK_LIMIT_S", 2.0 * TIMEOUT_S)  # seven wait for it, and a disk may be slow
    root, journal = tmp_path / "spool", Journal(tmp_path / "journal")
    _write(root, journal, WRITERS, 80)  # beyond the quota, with nobody there who takes anything away
    jobs = [partial(_write, root, journal, seed, 40) for seed in range(WRITERS)]
    jobs += [partial(_settle, root, journal, seed, 15) for seed in range(SETTLERS)]

    statuses = _crowd(jobs, KILLS)

    killed = statuses.count(signal.SIGKILL)
    assert set(statuses) <= {0, signal.SIGKILL}
    assert killed > KILLS / 2
    spool = Spool(root, 64 * MIB, 0)
    spool.recover()
    account = spool.account()
    waiting = {id_of(folder) for folder in spool.pending()}
    begun, kept, stored = journal.ids("begun"), journal.ids("kept"), journal.ids("stored")
    assert account.received == account.stored + account.pending + account.quarantined + sum(account.dropped.values())
    assert len(kept) <= account.received <= len(begun)
    assert account.pending == len(waiting)
    assert waiting <= begun
    assert len(stored) - killed <= account.stored <= len(stored)
    assert account.dropped.get("lost", 0) <= killed  # begun, and killed before it had a folder
    assert account.dropped.get("quota", 0) > 0
    assert all(spool.load(folder) for folder in spool.pending())
    assert [path.name for path in (root / "new").iterdir()] == []
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 3 * MIB
    with (root / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody left sits on it
