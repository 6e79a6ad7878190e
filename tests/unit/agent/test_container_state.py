"""What engines leave on disk, while they change it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from diag.agent import container_state


def test_a_container_that_goes_meanwhile_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is listed, and gone when it is looked into; the others are found."""
    for runtime in ("gone", "moby"):
        folder = tmp_path / "docker/runtime-runc" / runtime / "aabbcc"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text('{"init_process_pid": 4711}')
    scandir = os.scandir

    def going(path: Any = ".") -> Any:
        if str(path).endswith("/gone"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", going)
    monkeypatch.setattr(container_state, "_run_folders", lambda: [tmp_path])

    found = [one for one in container_state.running() if one.pid]

    assert found == [container_state.Found("aabbcc", pid=4711)]
