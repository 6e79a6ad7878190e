"""The tables of the index, and how a database is opened for them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    column,
    create_engine,
    event,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from diag_server.errors import IndexUnusable

VERSION = "1"

metadata = MetaData()  # every name starts with diag_: the database may be shared, and _create drops what is ours

# One row a capture, however often it was delivered. Times are `model.stamp` texts: UTC, so they sort as text.
captures = Table(
    "diag_captures",
    metadata,
    Column("capture_id", String(36), primary_key=True),
    Column("time", String(40), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("level", String(16)),
    Column("trigger", String(32), nullable=False),
    Column("title", Text, nullable=False),
    Column("cause", Text),
    Column("sentence", Text),
    Column("fingerprint", String(200)),
    Column("service", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("start_time", String(40), nullable=False),
    Column("runtime", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("incomplete", Integer, nullable=False),
    Column("stack", Text, nullable=False),  # JSON: the innermost frames of the crashing thread
    Column("manifest", Text, nullable=False),
    Column("words", Text, nullable=False),  # what the text search looks at
    Index("diag_captures_by_time", "time", "capture_id"),
    Index("diag_captures_by_fingerprint", "fingerprint", "time"),
    Index("diag_captures_by_instance", "instance_id", "time"),
    Index("diag_captures_by_kind", "kind", "time"),
)

links = Table(
    "diag_links",
    metadata,
    Column("capture_id", String(36), nullable=False),
    Column("request_id", Text),
    Column("trace_id", Text),
    Column("span_id", Text),
    Index("diag_links_by_capture", "capture_id"),
    Index("diag_links_by_request", "request_id"),
    Index("diag_links_by_trace", "trace_id"),
)

meta = Table("diag_meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

# Trigrams, because people search for parts of names: `checkout` in `shop.views.checkout_cart`.
search = table("diag_search", column("capture_id"), column("words"))
SEARCH = "CREATE VIRTUAL TABLE IF NOT EXISTS diag_search USING fts5(capture_id UNINDEXED, words, tokenize='trigram')"


def url_of(index_url: str) -> URL:
    """The database's URL; a text without a scheme is the path of an SQLite file. Raises IndexUnusable."""
    try:
        return make_url(index_url) if "://" in index_url else URL.create("sqlite", database=index_url)
    except ArgumentError as error:
        raise IndexUnusable(f"{index_url!r} is neither a path nor a database URL.") from error


def file_of(index_url: str) -> Path | None:
    """The SQLite file, or None where the index is elsewhere."""
    url = url_of(index_url)
    named = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if named else None


def open_engine(index_url: str, belongs_to: str) -> Engine:
    """The database with its tables, emptied where it was made for another store or by another version.

    `belongs_to` says whose catalogue it is (store and tenant). Raises IndexUnusable.
    """
    path = file_of(index_url)
    engine = None
    try:
        if path:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        engine = create_engine(url_of(index_url))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        _create(engine, f"{VERSION} {belongs_to}")
    except (OSError, DatabaseError, NoSuchModuleError, ModuleNotFoundError) as error:
        if engine is not None:
            engine.dispose()
        reason = getattr(error, "orig", None) or error
        raise IndexUnusable(f"The index {path or index_url} cannot be used: {reason}.") from error
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _create(engine: Engine, marker: str) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            connection.execute(text(SEARCH))
        found = connection.scalar(select(meta.c.value).where(meta.c.name == "marker"))
        if found == marker:
            return
        if sqlite:
            connection.execute(text("DROP TABLE diag_search"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
        if sqlite:
            connection.execute(text(SEARCH))
        rows = [{"name": "marker", "value": marker}, {"name": "secret", "value": secrets.token_hex(32)}]
        connection.execute(meta.insert(), rows)
