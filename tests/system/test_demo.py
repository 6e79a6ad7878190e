"""The demo is the main job on real input, and checks itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demo" / "run.py"
LIMIT_S = 600  # it takes some ten seconds; a slow machine may take its time


@pytest.mark.timeout(LIMIT_S + 10)
@pytest.mark.parametrize("store", ["", "s3", "oss"])
def test_the_demo_finds_every_death_its_request_and_its_page(store: str) -> None:
    """A fault, an exception, a kill and a hang in gunicorn each have one record and three pages, in every store.

    Where control groups may be made an import is ended by the OOM killer, and its record says how memory grew.
    """
    command = [sys.executable, DEMO, "--check", "--store", store]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Checked" in ended.stdout
