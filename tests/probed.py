"""Test programs, run bare and run with the probe in them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import Any

from machine import PROGRAMS, TIMEOUT_S, python
from standin import StandIn

ADDRESS = "0x[0-9a-f]+"


def path_of(name: str) -> str:
    """A test program's path."""
    return str(PROGRAMS / name)


def line_of(name: str, mark: str) -> int:
    """The number of the line that a program marks with this name."""
    for number, line in enumerate((PROGRAMS / name).read_text().splitlines(), 1):
        if line.endswith(f"# MARK: {mark}"):
            return number
    raise AssertionError(f"{name} has no mark {mark}")


def visible(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """What anybody can see, without the addresses that differ from run to run."""
    return done.returncode, re.sub(ADDRESS, "0x", done.stdout), re.sub(ADDRESS, "0x", done.stderr)


@dataclass
class Program:
    """A way to start an interpreter, to be tried bare and probed."""

    version: str
    arguments: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run to the end; status and texts."""
        return subprocess.run(
            [python(self.version), *self.arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            **self.settings,
        )

    def bare(self) -> subprocess.CompletedProcess[str]:
        """As it runs without diag."""
        return self.run({**os.environ, **self.variables})

    def probed(self, agent: StandIn) -> subprocess.CompletedProcess[str]:
        """As it runs beside the agent, with all of its links closed again."""
        done = self.run(agent.environment(**self.variables))
        agent.settle()
        return done
