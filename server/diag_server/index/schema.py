"""The tables of the index. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, MetaData, Table, Text, TypeDecorator, column, table
from sqlalchemy.types import TypeEngine

LIMIT = 500  # characters of a text that is looked up: PostgreSQL indexes 2,704 bytes at most
Whole = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's INTEGER PRIMARY KEY is the row's own number


class Plain(TypeDecorator[str]):
    """A text that both databases keep, compare and sort alike: by its code points, without the NUL that only one takes.

    With `limit` it is cut, when it is written and when it is asked for.
    """

    impl = Text
    cache_ok = True

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self.limit = limit

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """What is sent for this value."""
        if value is None:
            return None
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: self.limit or None]


def _key() -> Plain:
    return Plain(LIMIT)


metadata = MetaData()  # every name starts with diag_: the database may be shared, and only what is ours is dropped

# One row a capture, however often it was delivered. `number` is its time in milliseconds and 20 bits of chance
# (rows.number_of): the row's key and the order of every list at once.
captures = Table(
    "diag_captures",
    metadata,
    Column("number", Whole, primary_key=True, autoincrement=False),
    Column("capture_id", Plain(), nullable=False),
    Column("time", Plain(), nullable=False),
    Column("kind", _key(), nullable=False),
    Column("level", _key()),
    Column("trigger", Plain(), nullable=False),
    Column("title", Plain(), nullable=False),
    Column("cause", Plain()),
    Column("sentence", Plain()),
    Column("fingerprint", _key()),
    Column("service", _key(), nullable=False),
    Column("name", _key(), nullable=False),
    Column("instance_id", _key(), nullable=False),
    Column("host", Plain(), nullable=False),
    Column("pid", Whole, nullable=False),
    Column("start_time", _key(), nullable=False),
    Column("runtime", Plain(), nullable=False),
    Column("size_bytes", Whole, nullable=False),
    Column("incomplete", Whole, nullable=False),
    Column("repeats", Whole, nullable=False, server_default="0"),  # how many like it were counted and not kept
    Index("diag_captures_by_id", "capture_id", unique=True),
    Index("diag_captures_by_fingerprint", "fingerprint", "kind", "number"),
    Index("diag_captures_by_group", "fingerprint", "number"),
    Index("diag_captures_by_instance", "instance_id", "number"),
    Index("diag_captures_by_name", "name", "number"),
    Index("diag_captures_by_service", "service", "number"),
    Index("diag_captures_by_kind", "kind", "number"),
    Index("diag_captures_by_level", "level", "number"),
)

# What is long and rarely read stands apart, so that a walk over many captures reads few pages.
texts = Table(
    "diag_texts",
    metadata,
    Column("number", Whole, primary_key=True, autoincrement=False),
    Column("manifest", Plain(), nullable=False),
    Column("stack", Plain(), nullable=False),  # JSON: the innermost frames of the crashing thread
    Column("words", Plain(), nullable=False),  # what the text search looks at, in lower case
)

links = Table(
    "diag_links",
    metadata,
    Column("number", Whole, nullable=False),
    Column("request_id", _key()),
    Column("trace_id", _key()),
    Column("span_id", Plain()),
    Index("diag_links_by_capture", "number"),
    Index("diag_links_by_request", "request_id", "number"),
    Index("diag_links_by_trace", "trace_id", "number"),
)

# Counts, kept in the transaction that brings or takes a capture: nobody can count a million rows for each page.
# `last` is the number of the newest capture that is counted.
groups = Table(
    "diag_groups",
    metadata,
    Column("fingerprint", _key(), primary_key=True),
    Column("kind", _key(), primary_key=True),
    Column("count", Whole, nullable=False),
    Column("last", Whole, nullable=False),
)
seen_on = Table(
    "diag_seen_on",
    metadata,
    Column("fingerprint", _key(), primary_key=True),
    Column("kind", _key(), primary_key=True),
    Column("instance_id", _key(), primary_key=True),
    Column("count", Whole, nullable=False),
)
instances = Table(
    "diag_instances",
    metadata,
    Column("instance_id", _key(), primary_key=True),
    Column("count", Whole, nullable=False),
    Column("crashes", Whole, nullable=False),
    Column("last", Whole, nullable=False),
    Index("diag_instances_by_last", "last"),
)
processes = Table(
    "diag_processes",
    metadata,
    Column("instance_id", _key(), primary_key=True),
    Column("pid", Whole, primary_key=True, autoincrement=False),
    Column("start_time", _key(), primary_key=True),
    Column("count", Whole, nullable=False),
    Column("crashes", Whole, nullable=False),
    Column("last", Whole, nullable=False),
)
hours = Table(
    "diag_hours",
    metadata,
    Column("fingerprint", _key(), primary_key=True),  # '' counts everything of the kind
    Column("kind", _key(), primary_key=True),
    Column("hour", Whole, primary_key=True, autoincrement=False),  # since 1970
    Column("count", Whole, nullable=False),
)

meta = Table("diag_meta", metadata, Column("name", Plain(), primary_key=True), Column("value", Plain(), nullable=False))

# SQLite only: the words once more, as trigrams, because people search for parts of names.
search = table("diag_search", column("rowid", Integer), column("words", Text))
