"""Bringing a database to the tables that this version of diag knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from diag_server.errors import IndexTooNew
from diag_server.index.schema import metadata

HERE = Path(__file__).parent / "migrations"
VERSION_TABLE = "diag_version"
ADVISORY_LOCK = 0x64696167  # `diag`; PostgreSQL's locks of this kind are numbers


def lock(connection: Connection) -> None:
    """Let nobody else change the tables until this transaction ends; viewers that start together wait in turn."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins only at the first change
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": ADVISORY_LOCK})


def refuse_newer(connection: Connection) -> None:
    """Raise IndexTooNew where the tables are those of a later version."""
    current, known = _current(connection), {one.revision for one in ScriptDirectory(str(HERE)).walk_revisions()}
    if current is not None and current not in known:
        raise IndexTooNew(f"The index has the tables of a newer diag ({current}); this one knows {max(known)}.")


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the transaction that holds the lock."""
    script = ScriptDirectory(str(HERE))
    if _current(connection) == script.get_current_head():
        return

    def missing(current: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", current)  # what alembic.command.upgrade does

    with EnvironmentContext(Config(), script, fn=missing) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def empty(connection: Connection) -> None:
    """Drop every table of ours, of this version or of the one without migrations."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("DROP TABLE IF EXISTS diag_search"))  # first: it reads diag_texts
    there = set(inspect(connection).get_table_names())
    for name in sorted({*metadata.tables, VERSION_TABLE} & there):
        connection.execute(text(f"DROP TABLE {name}"))


def is_versioned(connection: Connection) -> bool:
    """Whether the tables were made by migrations."""
    return inspect(connection).has_table(VERSION_TABLE)
