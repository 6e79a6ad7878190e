"""Both databases that an index can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an index is that nobody has used yet: a file, and a database of a real PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "index.sqlite")
        return
    server = request.getfixturevalue("postgres")
    url = server.database()
    yield url
    server.drop(url)  # not all of them behind the last test of the session, which has no time for that
