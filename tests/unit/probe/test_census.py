"""Objects are counted by type, each once, without running any code of theirs, and within limits."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from machine import PROGRAMS, TIMEOUT_S, VERSIONS, python

from diag.probe import FOLDER


def counted(version: str, objects: int = 10_000_000, seconds: float = 60) -> dict[str, Any]:
    """The answer of a program full of traps."""
    command = [python(version), "-S", str(PROGRAMS / "counted.py"), str(FOLDER), str(objects), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("version", VERSIONS)
def test_each_once(version: str) -> None:
    """Also what many lead to, what nothing tracks, and what would rather not be looked at."""
    answer = counted(version)

    rows = {(module, name): (count, size) for module, name, count, size in answer["rows"]}
    assert rows["__main__", "Hostile"][0] == 10
    assert rows["__main__", "Large"][0] == 1
    assert rows["__main__", "Large"][1] >= 800_000
    assert 100_000 - 300 < rows["builtins", "int"][0] < 115_000
    assert 5000 < rows["builtins", "str"][0] < 40_000
    assert rows["builtins", "float"][0] < 100
    assert (answer["cut"], answer["left"]) == ("", 0)
    assert answer["bytes"] >= sum(size for _, size in rows.values())
    assert answer["largest"][0][:2] == ["__main__", "Large"]
    assert answer["largest"][0][3] == 100_000


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_limits(version: str) -> None:
    """Too many are not even listed; time that is over ends it, and what is left is told."""
    many, late = counted(version, objects=1000), counted(version, seconds=0)

    assert (many["cut"], many["rows"]) == ("objects", [])
    assert many["left"] > 1000
    assert late["cut"] == "seconds"
    assert late["left"] > 0
