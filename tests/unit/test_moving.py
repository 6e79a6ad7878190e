"""What tests look at while others move it is listed whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moving import content, listed


def test_a_folder_that_is_moved_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no longer there, and the others are."""
    for name in ("stays", "goes"):
        (tmp_path / "pending" / name).mkdir(parents=True)
        (tmp_path / "pending" / name / "manifest.json").write_text(name)
    goes, scandir = tmp_path / "pending/goes", os.scandir

    def moving(path: Any = ".") -> Iterator[os.DirEntry[str]]:
        if str(path) == str(goes) and goes.exists():
            goes.rename(tmp_path / "completed")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", moving)

    assert listed(tmp_path, "pending/**/manifest.json") == [tmp_path / "pending/stays/manifest.json"]


def test_a_file_that_is_gone_has_no_content(tmp_path: Path) -> None:
    """Files that are there are read; folders, and what has gone since it was listed, are left out."""
    (tmp_path / "there").write_text("yes")

    assert content([tmp_path / "there", tmp_path / "gone", tmp_path]) == {tmp_path / "there": b"yes"}
