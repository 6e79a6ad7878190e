"""What changes the index: a capture comes in, a capture goes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from diag_server.index.rows import Entry
from diag_server.index.schema import captures, links, meta, search


def add(engine: Engine, entries: Sequence[Entry]) -> int:
    """Put captures into the index, in one transaction; returns how many were new. A second delivery changes nothing."""
    with engine.begin() as connection:
        return sum(_add_one(connection, entry) for entry in entries)


def remove(engine: Engine, capture_ids: Iterable[str]) -> None:
    """Take captures out of the index; those that are not there are passed over."""
    with engine.begin() as connection:
        tables = [captures, links] + ([search] if engine.dialect.name == "sqlite" else [])
        for capture_id in capture_ids:
            for one in tables:
                connection.execute(delete(one).where(one.c.capture_id == capture_id))


def ids(engine: Engine) -> set[str]:
    """The ids of all captures in the index."""
    with engine.connect() as connection:
        return set(connection.scalars(select(captures.c.capture_id)))


def has(engine: Engine, capture_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are in the index."""
    with engine.connect() as connection:
        found: set[str] = set()
        for start in range(0, len(capture_ids), 500):  # databases limit the number of parameters
            some = capture_ids[start : start + 500]
            found.update(connection.scalars(select(captures.c.capture_id).where(captures.c.capture_id.in_(some))))
        return found


def secret(engine: Engine) -> str:
    """The random key that signs sessions; it lives and goes with the index."""
    with engine.connect() as connection:
        return str(connection.scalar(select(meta.c.value).where(meta.c.name == "secret")))


def _add_one(connection: Connection, entry: Entry) -> int:
    # Two names for the same statement, because SQL has none that both databases know.
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    done = connection.execute(insert(captures).values(**_columns(entry)).on_conflict_do_nothing())
    if done.rowcount != 1:
        return 0
    capture_id = entry.capture.capture_id
    rows = [{"capture_id": capture_id, **link.to_json()} for link in entry.capture.links]
    if rows:
        connection.execute(links.insert(), rows)
    if connection.dialect.name == "sqlite":
        connection.execute(search.insert(), {"capture_id": capture_id, "words": entry.words})
    return 1


def _columns(entry: Entry) -> dict[str, Any]:
    capture, instance = entry.capture, entry.capture.instance
    verdict = capture.verdict or {}
    return {
        "capture_id": capture.capture_id,
        "time": capture.time,
        "kind": capture.kind,
        "level": capture.level,
        "trigger": capture.trigger,
        "title": capture.title,
        "cause": verdict.get("cause"),
        "sentence": verdict.get("sentence"),
        "fingerprint": capture.fingerprint,
        "service": instance.service,
        "name": instance.name,
        "instance_id": instance.instance_id,
        "host": instance.host,
        "pid": instance.pid,
        "start_time": instance.start_time,
        "runtime": instance.runtime,
        "size_bytes": sum(artifact.size_bytes for artifact in capture.artifacts),
        "incomplete": len(capture.incomplete),
        "stack": json.dumps(entry.stack),
        "manifest": entry.manifest,
        "words": entry.words,
    }
