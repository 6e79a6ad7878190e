"""The disk is full: the sender is told so, and nothing half is kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import deaths
import pytest
from machine import missing
from viewers import Running, running


@pytest.fixture
def small(home: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = home / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        missing("Only root can mount a small file system.")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        missing("A tmpfs cannot be mounted here.")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def refused(viewer: Running) -> None:
    made = deaths.made(deaths.segfault())

    answer = viewer.put(made.key("big.bin"), b"x" * (2 * 2**20))

    assert answer.status_code == 507
    assert "no room" in answer.json()["error"] and answer.json()["help"]
    assert viewer.ask("HEAD", f"api/v1/objects/{made.key('big.bin')}").status_code == 404
    assert viewer.deliver(made) == [201, 201]


def test_a_full_store_is_507(home: Path, small: Path) -> None:
    """What does not fit into the store is refused; what fits is still taken."""
    with running(small / "store") as viewer:
        refused(viewer)


def test_a_full_folder_for_uploads_is_507(home: Path, small: Path) -> None:
    """The same where there is no room to receive it."""
    (home / "state" / "diag").mkdir(parents=True)
    (home / "state" / "diag" / "incoming").symlink_to(small)
    with running(home / "store", environ={"XDG_STATE_HOME": str(home / "state")}) as viewer:
        refused(viewer)
    assert list(small.iterdir()) == []
