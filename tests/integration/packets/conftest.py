"""A network of the test's own, and a machine that looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from instances import Machine
from networks import Network, network


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """A machine on which nothing was captured yet."""
    made = Machine(home)
    yield made
    made.close()


@pytest.fixture
def net() -> Iterator[Network]:
    """An empty network."""
    with network() as made:
        yield made
