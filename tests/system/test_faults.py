"""The short form of `make faults`: every way to die, each on one Python, leaves the record that the catalogue wants."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from machine import VERSIONS, missing, python

LIMIT_S = 900  # it takes about a minute; a slow machine may take its time


@pytest.mark.timeout(LIMIT_S + 60)
def test_every_way_to_die_leaves_its_record_and_changes_nothing() -> None:
    """Each kind on one of the Pythons, which take turns: level and verdict as wanted, and every invariant holds."""
    if os.geteuid() != 0:
        missing("Some ways to die need root.")
    for version in VERSIONS:
        python(version)
    command = [sys.executable, "-m", "faults", "--sample"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, start_new_session=True
    ) as catalogue:
        try:
            output, _ = catalogue.communicate(timeout=LIMIT_S)
        finally:
            if catalogue.poll() is None:
                os.killpg(catalogue.pid, signal.SIGTERM)

    summary = re.search(r"^(\d+) kinds, \d+ s: all as wanted$", output, re.MULTILINE)
    assert summary is not None, output[-8000:]
    assert catalogue.returncode == 0
    assert int(summary[1]) > 200
