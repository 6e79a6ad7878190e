"""The catalogue: captures, their links and texts, and what is counted of them."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op
from diag_server.index.schema import Plain
from sqlalchemy.exc import DBAPIError

revision = "0001"
down_revision = None

log = logging.getLogger(__name__)

KEY = 500
WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INDEXES = {
    "diag_captures_by_fingerprint": ("diag_captures", "fingerprint", "kind", "number"),
    "diag_captures_by_instance": ("diag_captures", "instance_id", "number"),
    "diag_captures_by_name": ("diag_captures", "name", "number"),
    "diag_captures_by_service": ("diag_captures", "service", "number"),
    "diag_captures_by_kind": ("diag_captures", "kind", "number"),
    "diag_captures_by_level": ("diag_captures", "level", "number"),
    "diag_links_by_capture": ("diag_links", "number"),
    "diag_links_by_request": ("diag_links", "request_id", "number"),
    "diag_links_by_trace": ("diag_links", "trace_id", "number"),
    "diag_instances_by_last": ("diag_instances", "last"),
}
# The words stand in diag_texts; the search table follows it (sqlite.org/fts5.html, section 4.4.3).
SEARCH = (
    "CREATE VIRTUAL TABLE diag_search USING fts5"
    "(words, content='diag_texts', content_rowid='number', tokenize='trigram')",
    "CREATE TRIGGER diag_texts_come AFTER INSERT ON diag_texts BEGIN"
    " INSERT INTO diag_search(rowid, words) VALUES (new.number, new.words); END",
    "CREATE TRIGGER diag_texts_go AFTER DELETE ON diag_texts BEGIN"
    " INSERT INTO diag_search(diag_search, rowid, words) VALUES ('delete', old.number, old.words); END",
)
TRIGRAMS = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX diag_texts_by_words ON diag_texts USING gin (words gin_trgm_ops)",
)


def upgrade() -> None:
    """Make the tables."""
    _captures()
    _counts()
    op.create_table("diag_meta", _key("name", 0), _text("value"))
    op.create_index("diag_captures_by_id", "diag_captures", ["capture_id"], unique=True)
    for name, (table, *columns) in INDEXES.items():
        op.create_index(name, table, columns)
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in SEARCH:
            op.execute(sa.text(statement))
        return
    try:
        with connection.begin_nested():
            for statement in TRIGRAMS:
                op.execute(sa.text(statement))
    except DBAPIError as error:
        log.warning("Text search reads every row, because pg_trgm cannot be used: %s", str(error.orig).strip())


def _captures() -> None:
    op.create_table(
        "diag_captures",
        sa.Column("number", WHOLE, primary_key=True, autoincrement=False),
        *(_text(name) for name in ("capture_id", "time")),
        _text("kind", KEY),
        _text("level", KEY, nullable=True),
        *(_text(name) for name in ("trigger", "title")),
        *(_text(name, nullable=True) for name in ("cause", "sentence")),
        _text("fingerprint", KEY, nullable=True),
        *(_text(name, KEY) for name in ("service", "name", "instance_id")),
        _text("host"),
        _count("pid"),
        _text("start_time", KEY),
        _text("runtime"),
        *(_count(name) for name in ("size_bytes", "incomplete")),
    )
    op.create_table(
        "diag_texts",
        sa.Column("number", WHOLE, primary_key=True, autoincrement=False),
        *(_text(name) for name in ("manifest", "stack", "words")),
    )
    op.create_table(
        "diag_links",
        _count("number"),
        *(_text(name, KEY, nullable=True) for name in ("request_id", "trace_id")),
        _text("span_id", nullable=True),
    )


def _counts() -> None:
    op.create_table("diag_groups", _key("fingerprint"), _key("kind"), _count("count"), _count("last"))
    op.create_table("diag_seen_on", _key("fingerprint"), _key("kind"), _key("instance_id"), _count("count"))
    counts = ("count", "crashes", "last")
    op.create_table("diag_instances", _key("instance_id"), *(_count(name) for name in counts))
    op.create_table(
        "diag_processes",
        _key("instance_id"),
        sa.Column("pid", WHOLE, primary_key=True, autoincrement=False),
        _key("start_time"),
        *(_count(name) for name in counts),
    )
    op.create_table(
        "diag_hours",
        _key("fingerprint"),
        _key("kind"),
        sa.Column("hour", WHOLE, primary_key=True, autoincrement=False),
        _count("count"),
    )


def _text(name: str, limit: int = 0, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, Plain(limit), nullable=nullable)


def _key(name: str, limit: int = KEY) -> sa.Column[str]:
    return sa.Column(name, Plain(limit), primary_key=True)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, WHOLE, nullable=False)
