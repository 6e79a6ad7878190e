"""A machine of its own for each test of the whole way, and the little library that really faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from instances import Machine
from machine import fault_library


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """Where `diag run` is typed; everything it started is gone afterwards."""
    one = Machine(home)
    yield one
    one.close()


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a shared library with one function for each kind of fault."""
    return fault_library(tmp_path_factory.mktemp("faults"))
