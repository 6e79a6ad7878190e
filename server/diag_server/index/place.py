"""Where the index is: the path of an SQLite file, or a database's URL."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from diag_server.errors import IndexUnusable


def url_of(index_url: str) -> URL:
    """The database's URL; a text without a scheme is the path of an SQLite file. Raises IndexUnusable."""
    try:
        url = make_url(index_url) if "://" in index_url else URL.create("sqlite", database=index_url)
    except (ArgumentError, ValueError) as error:
        raise IndexUnusable(
            f"{shown(index_url)!r} is neither a path nor a database URL.",
            "For example: --index index.sqlite or --index postgresql://diag@db.example/diag",
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def file_of(index_url: str) -> Path | None:
    """The SQLite file, or None where the index is elsewhere."""
    url = url_of(index_url)
    named = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if named else None


def shown(index_url: str) -> str:
    """The index as messages name it: without its password, also where it is no URL that can be read."""
    scheme, colon, rest = index_url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if colon else index_url


def set_aside(path: Path) -> Path:
    """Move an SQLite file out of the way, with what stands beside it; returns where to. Raises IndexUnusable."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{path.name}.{stamp}{more}.old" for more in ("", *(f"-{n}" for n in range(2, 1000))))
    aside = next(one for one in map(path.with_name, names) if not one.exists())
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
