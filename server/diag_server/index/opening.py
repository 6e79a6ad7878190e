"""How a database becomes the index of one store: opened, checked, brought to this version, and marked."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DatabaseError, DBAPIError, NoSuchModuleError

from diag_server.errors import IndexDamaged, IndexOfAnother, IndexUnusable
from diag_server.index import migrate, notes
from diag_server.index.place import file_of, set_aside, shown, url_of
from diag_server.index.schema import meta

log = logging.getLogger(__name__)

BUSY_MS = 10_000
CONNECT_S = 5
SUFFIX, MAGIC = ".sqlite", b"SQLite format 3\0"
PAGE = 8192  # of a new file: a capture's texts take 2.3 KB, of which 4096 hold one and 8192 three
CHECKED_BYTES = 64 * 1024 * 1024  # a larger file is checked where it is read: a start must not wait for a whole disk
MOST_CONNECTIONS = 260  # one a thread (`--threads` takes 256) and those of the background


def open_engine(index_url: str, belongs_to: str, *, take_over: bool = False, secret: str = "") -> Engine:
    """The database with its tables, ready to be used by several viewers at once.

    `belongs_to` says whose catalogue it is (store and tenant). An SQLite file of another store is emptied, and one that
    is damaged is set aside, unless it may be somebody else's; a database is refused unless it may be taken over.
    `secret` is used where there is none.
    Raises IndexUnusable.
    """
    path = file_of(index_url)
    engine = None
    try:
        engine = _connect(index_url, path)
        try:
            _prepare(engine, path, belongs_to, take_over, secret)
        except (DatabaseError, IndexDamaged) as error:
            if path is None or not is_damage(error):
                raise
            engine.dispose()
            _refuse_foreign(path)
            replace(path, error)
            _prepare(engine, path, belongs_to, take_over, secret)
    except (OSError, DBAPIError, NoSuchModuleError, ModuleNotFoundError, IndexUnusable) as error:
        if engine is not None:
            engine.dispose()
        if isinstance(error, IndexUnusable):
            raise
        raise IndexUnusable(
            f"The index {path or shown(index_url)} cannot be used: {_reason(error)}.", _help(error)
        ) from (error)
    return engine


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is no SQLite database (any more), or was moved away under us."""
    if isinstance(error, IndexDamaged):
        return True
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    # The low byte is the error, the rest says more (sqlite.org/rescode.html).
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == sqlite3.SQLITE_READONLY_DBMOVED


def replace(path: Path, error: BaseException) -> None:
    """Set a damaged file aside and leave an empty one in its place. Raises IndexUnusable."""
    if path.exists():
        aside = set_aside(path)
        log.warning(
            "The index was damaged (%s) and is now %s; it is built again from the store.", _reason(error), aside
        )
    _touch(path)


def _refuse_foreign(path: Path) -> None:
    """Raise IndexUnusable for a file that may never have been an index: a slip must not move somebody's file away."""
    if path.suffix == SUFFIX:
        return
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise IndexUnusable(
                f"{path} is no SQLite file.",
                f"Name another with --index, or remove this one. Only what is called *{SUFFIX} is set aside unasked.",
            )


def _connect(index_url: str, path: Path | None) -> Engine:
    if path:
        _touch(path)
        engine = create_engine(url_of(index_url), max_overflow=MOST_CONNECTIONS)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    url = url_of(index_url)
    if url.get_backend_name() != "postgresql":
        return create_engine(url)
    # A connection is tried before it is used, so that a restart of the server costs no request.
    known = {"connect_timeout": CONNECT_S, "application_name": "diag serve"}
    given = {name: value for name, value in known.items() if name not in url.query}
    return create_engine(url, pool_pre_ping=True, max_overflow=MOST_CONNECTIONS, connect_args=given)


def _touch(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in (
        f"page_size={PAGE}",
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare(engine: Engine, path: Path | None, belongs_to: str, take_over: bool, secret: str) -> None:
    with engine.begin() as connection:
        migrate.lock(connection)
        if path and path.stat().st_size < CHECKED_BYTES:
            _check(connection)
        owner, versioned = _owner(connection), migrate.is_versioned(connection)
        another = owner is not None and owner != belongs_to
        if versioned:
            migrate.refuse_newer(connection)
        if another and path is None and not take_over:
            raise IndexOfAnother(f"The database {shown(str(engine.url))} holds the index of another store: {owner}.")
        if another or (owner is not None and not versioned):  # without a version: made before there were migrations
            migrate.empty(connection)
        migrate.upgrade(connection)
        notes.begin(connection, belongs_to, secret or secrets.token_hex(32))


def _check(connection: Connection) -> None:
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise IndexDamaged(str(found))


def _owner(connection: Connection) -> str | None:
    if not inspect(connection).has_table(meta.name):
        return None
    found = {row.name: row.value for row in connection.execute(select(meta.c.name, meta.c.value))}
    # The first version wrote `1 <store> <tenant>` under another name.
    return found.get("belongs_to") or found.get("marker", "").partition(" ")[2] or None


def _reason(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return "; ".join(line.strip() for line in lines[:2]).rstrip(".")


def _help(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError | NoSuchModuleError):
        return "pip install 'diag[postgres]'; the index is an SQLite file or a postgresql:// URL."
    return IndexUnusable.help_text
