"""What the index remembers about itself: whose it is, its secret, and how far it has read the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite

from diag_server.index.schema import meta

FIRST, REINDEX, ROUTINE = "first", "reindex", "routine"
WALKED, SWEPT = "walked", "swept"  # when the whole store, and the last days, were last read to their end
LEASE_LOCK = 0x6469616701


@dataclass(frozen=True, slots=True)
class Walk:
    """A reading of the whole store, newest first: why, the hour that is done (yyyy/mm/dd/hh), the captures so far."""

    reason: str
    hour: str = ""
    captures: int = 0


def begin(connection: Connection, belongs_to: str, secret: str) -> None:
    """Mark a new index as this store's, with a first walk before it; an old one stays as it is."""
    walk = json.dumps(asdict(Walk(FIRST)))
    for name, value in {"belongs_to": belongs_to, "secret": secret, "changes": "0"}.items():
        if get(connection, name) is None:
            put(connection, name, value)
            if name == "belongs_to":
                put(connection, "walk", walk)


def secret(engine: Engine) -> str:
    """The random key that signs sessions; it lives and goes with the index."""
    with engine.connect() as connection:
        return str(get(connection, "secret"))


def walk(engine: Engine) -> Walk | None:
    """The walk that is under way, or was when somebody was killed."""
    with engine.connect() as connection:
        found = get(connection, "walk")
        return Walk(**json.loads(found)) if found else None


def set_walk(engine: Engine, walk: Walk | None) -> None:
    """Remember how far the walk is; None when it is done."""
    with engine.begin() as connection:
        put(connection, "walk", json.dumps(asdict(walk)) if walk else "")


def reindex(engine: Engine) -> None:
    """Ask for everything to be read again. One that was broken off goes on where it was."""
    under_way = walk(engine)
    if under_way is None or under_way.reason == ROUTINE:
        set_walk(engine, Walk(REINDEX))


def done_at(engine: Engine, name: str) -> float:
    """When this was last done by any viewer of the index, in seconds since 1970; 0 for never."""
    with engine.connect() as connection:
        return float(get(connection, name) or 0)


def set_done(engine: Engine, name: str, at: float) -> None:
    """Remember when this was done, for every viewer of the index."""
    with engine.begin() as connection:
        put(connection, name, str(at))


@contextmanager
def lease(engine: Engine) -> Iterator[bool]:
    """Whether reading the whole store is ours while the context lasts; another viewer of the database may have it.

    An SQLite file has one viewer as a rule, and two do the same twice without harm.
    """
    if engine.dialect.name != "postgresql":
        yield True
        return
    # No transaction stands open meanwhile; the server gives the lock back when the connection ends.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        number = {"number": LEASE_LOCK}
        mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), number))
        try:
            yield mine
        finally:
            if mine and not connection.invalidated:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)


def get(connection: Connection, name: str) -> str | None:
    """One remembered value."""
    return connection.scalar(select(meta.c.value).where(meta.c.name == name))


def put(connection: Connection, name: str, value: str) -> None:
    """Remember one value; an empty one is forgotten."""
    if not value:
        connection.execute(delete(meta).where(meta.c.name == name))
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(meta).values(name=name, value=value)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[meta.c.name], set_={"value": statement.excluded.value})
    )
