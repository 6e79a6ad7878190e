"""Runs a campaign, such as `make faults`, as its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

LIMIT_S = 1800  # each takes a minute or two; a slow machine may take its time


def run_campaign(module: str, *arguments: str) -> tuple[int, str]:
    """Its exit status and what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, start_new_session=True
    ) as campaign:
        try:
            output, _ = campaign.communicate(timeout=LIMIT_S)
        finally:
            if campaign.poll() is None:
                os.killpg(campaign.pid, signal.SIGTERM)
    return campaign.returncode, output
