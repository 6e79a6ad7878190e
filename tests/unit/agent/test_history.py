"""The last minutes of a process: figures in a small ring that outlives the agent and is never obeyed."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from diag.agent import history, registry
from diag.agent.watched import Watched
from diag.collectors.figures import read_figures
from diag.errors import NoSuchInstance


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An instance's folder."""
    registry.box_path(tmp_path, 1, 1).parent.mkdir()
    return tmp_path


def ourselves() -> Watched:
    """This very process, as an agent watches it."""
    return Watched(os.getpid(), registry.start_ticks(os.getpid()) or 0, -1)


def take(taker: history.History, *processes: Watched) -> None:
    """Let time pass until the next sample, and take it."""
    taker._due = time.monotonic()
    taker.take(processes)


def test_a_sample_says_what_the_process_uses(run_dir: Path) -> None:
    """Memory, CPU time, threads and open files of the process, and the file is private."""
    process = ourselves()
    take(history.History(run_dir), process)

    (sample,) = history.read(process.history_path)
    assert sample.rss is not None and sample.rss > 1 << 20
    assert sample.cpu_s is not None and sample.cpu_s > 0
    assert sample.threads is not None and sample.threads >= 1
    assert process.history_path is not None and process.history_path.stat().st_mode & 0o777 == 0o600
    process.remove_box()
    assert list(run_dir.glob("*/*")) == []


def test_nothing_is_taken_before_its_time(run_dir: Path) -> None:
    """Between two samples the agent sleeps."""
    process, taker = ourselves(), history.History(run_dir)
    taker.take([process])
    assert history.read(process.history_path) == ()
    assert taker.patience_s is not None
    assert history.History(None).patience_s is None


def test_the_ring_stays_small_and_keeps_the_newest(run_dir: Path) -> None:
    """However long a process lives: ten minutes, in order."""
    process, taker = ourselves(), history.History(run_dir)
    for _ in range(history.SLOTS + 7):
        take(taker, process)
    samples = history.read(process.history_path)
    assert len(samples) == history.SLOTS
    assert [sample.time for sample in samples] == sorted(sample.time for sample in samples)


def test_another_process_with_the_pid_is_not_looked_at(run_dir: Path) -> None:
    """A pid alone is used again."""
    process = Watched(os.getpid(), 1, -1)
    with pytest.raises(NoSuchInstance):
        read_figures(process.pid, process.ticks)
    take(history.History(run_dir), process)
    assert history.read(process.history_path) == ()


def test_a_crowd_is_looked_at_less_often(run_dir: Path) -> None:
    """The agent's time does not grow with the processes."""
    taker = history.History(run_dir)
    old = [Watched(1 << 30, 1, -1, since_s=0.0) for _ in range(5 * history.AT_A_TIME)]
    take(taker, *old)
    assert taker.patience_s is not None and taker.patience_s > 4 * history.STEP_S


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 48 * history.SLOTS,
        b"\x00" * 48 * 3,
        b"short",
        struct.pack("<dqdqqq", 1e300, 1, 1, 1, 1, 1),
        struct.pack("<dqdqqq", float("nan"), 1, float("inf"), 1, 1, 1),
    ],
)
def test_a_damaged_ring_is_empty(tmp_path: Path, content: bytes) -> None:
    """What is no sample is none."""
    path = tmp_path / "ring"
    path.write_bytes(content)
    assert history.read(path) == ()


def test_only_a_file_is_read(tmp_path: Path) -> None:
    """Neither a link nor a pipe leads anywhere, and nothing waits."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/proc/self/stat")
    assert history.read(tmp_path / "pipe") == history.read(tmp_path / "link") == history.read(tmp_path / "none") == ()


def test_a_full_disk_costs_the_sample(run_dir: Path) -> None:
    """A folder that takes nothing harms nobody."""
    process = ourselves()
    process.history_path = run_dir / "gone" / "1.1.history"
    take(history.History(run_dir), process)
    assert history.read(process.history_path) == ()
