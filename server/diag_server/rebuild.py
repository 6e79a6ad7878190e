"""Building the index anew from the store, which is all it is made of."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from diag_server.errors import IndexUnusable
from diag_server.index.schema import file_of


def set_aside(index_url: str) -> Path | None:
    """Move an SQLite index out of the way; returns where to, or None where there was none.

    Raises IndexUnusable.
    """
    path = file_of(index_url)
    if path is None or not path.exists():
        return None
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.old")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):  # they belong to the file that was renamed (sqlite.org/tempfiles.html)
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise IndexUnusable(
            f"The index {path} cannot be moved aside: {error.strerror}.", "Name another with --index."
        ) from error
    return aside


def shown(index_url: str) -> str:
    """The index without its password, for messages."""
    return str(file_of(index_url) or make_url(index_url).render_as_string(hide_password=True))
