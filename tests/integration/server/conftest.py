"""Running viewers, with and without tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from viewers import Running, running

TOKENS = "viewer v-token\noperator o-token\nadmin a-token\nagent g-token\n"


@pytest.fixture
def viewer(home: Path) -> Iterator[Running]:
    """A viewer without tokens, as `diag serve` starts it on a developer's machine."""
    with running(home / "store") as one:
        yield one


@pytest.fixture
def guarded(home: Path) -> Iterator[Running]:
    """A viewer with a token of each role: v-token, o-token, a-token, g-token."""
    (home / "tokens").write_text(TOKENS)
    with running(home / "store", "--tokens", str(home / "tokens")) as one:
        yield one
