"""What changes the index: captures come in, captures go, and what is counted goes with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Text, cast, delete, insert, select, update

from diag_server.index import tally
from diag_server.index.rows import CHANCE, Entry, number_of
from diag_server.index.schema import captures, links, meta, texts

SOME = 500  # databases limit the number of parameters
COUNTED = [
    captures.c[name] for name in ("number", "kind", "fingerprint", "instance_id", "pid", "start_time", "repeats")
]


def add(engine: Engine, entries: Sequence[Entry], *, again: bool = False) -> int:
    """Put captures into the index, in one transaction; returns how many were new.

    A second delivery changes nothing, unless what is there is to be written `again`.
    """
    wanted = {entry.capture.capture_id: entry for entry in entries}
    with _change(engine) as connection:
        known = _known(connection, list(wanted))
        if again:
            _remove(connection, list(known))
        new = [entry for capture_id, entry in wanted.items() if again or capture_id not in known]
        rows = [_columns(entry, number) for entry, number in zip(new, _numbers(connection, new), strict=True)]
        if rows:
            connection.execute(insert(captures), rows)
            connection.execute(insert(texts), [_text(one, row) for one, row in zip(new, rows, strict=True)])
            tally.count(connection, rows)
        linked = [
            {"number": row["number"], **link.to_json()}
            for entry, row in zip(new, rows, strict=True)
            for link in entry.capture.links
        ]
        if linked:
            connection.execute(insert(links), linked)
        return len(set(wanted) - set(known))


def remove(engine: Engine, capture_ids: Iterable[str]) -> None:
    """Take captures out of the index; those that are not there are passed over."""
    wanted = list(dict.fromkeys(capture_ids))
    for start in range(0, len(wanted), SOME):
        with _change(engine) as connection:
            _remove(connection, wanted[start : start + SOME])


def ids(engine: Engine, start: str = "", end: str = "~") -> set[str]:
    """The ids in the index from `start` to before `end`. Ids sort by the time when they were made."""
    with engine.connect() as connection:
        between = captures.c.capture_id >= start, captures.c.capture_id < end
        return set(connection.scalars(select(captures.c.capture_id).where(*between)))


def has(engine: Engine, capture_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are in the index."""
    with engine.connect() as connection:
        return set(_known(connection, capture_ids))


@contextmanager
def _change(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other change runs beside: the counter that each moves first is a row that each waits for.

    So a look before a write holds, and no two writers wait for each other.
    """
    with engine.begin() as connection:
        next_value = cast(cast(meta.c.value, BigInteger) + 1, Text)
        connection.execute(update(meta).where(meta.c.name == "changes").values(value=next_value))
        yield connection


def _known(connection: Connection, capture_ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(capture_ids), SOME):
        some = captures.c.capture_id.in_(capture_ids[start : start + SOME])
        rows = connection.execute(select(captures.c.capture_id, captures.c.number).where(some))
        found.update((row.capture_id, row.number) for row in rows)
    return found


def _numbers(connection: Connection, entries: Sequence[Entry]) -> list[int]:
    """A number for each that nobody has: of two in the same millisecond one in a million takes the next."""
    wanted = [number_of(entry.capture) for entry in entries]
    taken: set[int] = set()
    for start in range(0, len(wanted), SOME):
        some = captures.c.number.in_(wanted[start : start + SOME])
        taken.update(connection.scalars(select(captures.c.number).where(some)))
    given: list[int] = []
    for number in wanted:
        while number in taken:
            number = number + 1 if (number + 1) % CHANCE else number + 1 - CHANCE  # within its millisecond
            if connection.scalar(select(captures.c.number).where(captures.c.number == number)):
                taken.add(number)
        taken.add(number)
        given.append(number)
    return given


def _remove(connection: Connection, capture_ids: Sequence[str]) -> None:
    gone = connection.execute(select(*COUNTED).where(captures.c.capture_id.in_(capture_ids))).mappings().all()
    numbers = [row["number"] for row in gone]
    if numbers:
        for one in (captures, texts, links):
            connection.execute(delete(one).where(one.c.number.in_(numbers)))
        tally.discount(connection, gone)


def _text(entry: Entry, row: dict[str, Any]) -> dict[str, Any]:
    stack = json.dumps(entry.stack)
    return {"number": row["number"], "manifest": entry.manifest, "stack": stack, "words": entry.words.lower()}


def _columns(entry: Entry, number: int) -> dict[str, Any]:
    capture, instance = entry.capture, entry.capture.instance
    verdict = capture.verdict or {}
    return {
        "number": number,
        "capture_id": capture.capture_id,
        "time": capture.time,
        "kind": capture.kind,
        "level": capture.level,
        "trigger": capture.trigger,
        "title": capture.title,
        "cause": verdict.get("cause"),
        "sentence": verdict.get("sentence"),
        "fingerprint": capture.fingerprint or None,
        "service": instance.service,
        "name": instance.name,
        "instance_id": instance.instance_id,
        "host": instance.host,
        "pid": instance.pid,
        "start_time": instance.start_time,
        "runtime": instance.runtime,
        "size_bytes": sum(artifact.size_bytes for artifact in capture.artifacts),
        "incomplete": len(capture.incomplete),
        "repeats": capture.repeats,
    }
