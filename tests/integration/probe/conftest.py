"""Fixtures for the probe: stand-in agents, and programs run with and without it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probed import Program, visible
from standin import StandIn


@pytest.fixture
def stand_in(home: Path) -> Iterator[Callable[..., StandIn]]:
    """Makes stand-in agents; they are closed after the test."""
    made: list[StandIn] = []

    def make(**how: bool) -> StandIn:
        made.append(StandIn(home / f"agent{len(made)}", **how))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


@pytest.fixture
def agent(stand_in: Callable[..., StandIn]) -> StandIn:
    """A stand-in agent that reads and answers."""
    return stand_in()


@pytest.fixture
def same(agent: StandIn) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program bare and probed, and fails where anybody could tell the difference."""

    def run_twice(version: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        variables = settings.pop("variables", {})
        program = Program(version, list(arguments), settings, variables)
        bare, probed = program.bare(), program.probed(agent)
        assert visible(probed) == visible(bare)
        return probed

    return run_twice
