"""The short forms of `make faults`: each way to die leaves the record that the catalogue wants, on a bad day, too."""

from __future__ import annotations

import os
import re

import pytest
from campaign import LIMIT_S, run_campaign
from machine import VERSIONS, missing, python


@pytest.mark.timeout(LIMIT_S + 60)
def test_every_way_to_die_leaves_its_record_and_changes_nothing() -> None:
    """Each kind on one of the Pythons, which take turns: level and verdict as wanted, and every invariant holds."""
    assert _kinds("--sample") > 200


@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.parametrize("under", ["container", "full-disk", "killed-agent"])
def test_it_holds_where_it_is_hard(under: str) -> None:
    """In other namespaces, without room on the disk, and with the agent killed at some moment."""
    assert _kinds("--sample", "--under", under, "--only", "signals") > 20


@pytest.mark.timeout(LIMIT_S + 60)
def test_who_joined_an_agent_leaves_the_same_but_for_what_a_parent_knows() -> None:
    """A sample of it, with `diag agent` in the place of `diag run`."""
    assert _kinds("--sample", "--under", "agent", "--only", "processes: a") >= 8


def _kinds(*arguments: str) -> int:
    """How many kinds a run of the catalogue tried, all of them as wanted."""
    if os.geteuid() != 0:
        missing("Some ways to die need root.")
    for version in VERSIONS:
        python(version)
    status, output = run_campaign("faults", *arguments)

    summary = re.search(r"^(\d+) kinds, \d+ s: all as wanted$", output, re.MULTILINE)
    assert summary is not None, output[-8000:]
    assert status == 0
    return int(summary[1])
