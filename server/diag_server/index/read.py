"""Every question about captures that the pages and the API ask of the index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, Select, select

from diag.model import Link
from diag_server.index.conditions import conditions, floor
from diag_server.index.rows import CaptureRow, Filter, Page
from diag_server.index.schema import captures, links, meta, texts

LARGEST = 2**63 - 1
LIST_COLUMNS = [c for c in captures.c if c.name != "number"]


def find(engine: Engine, wanted: Filter, limit: int = 50, cursor: str = "") -> Page:
    """The captures that match, newest first; `cursor` continues an earlier page."""
    below = min(int(cursor), LARGEST) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 30 else None
    numbers: list[int] = []
    while True:
        query = select(captures.c.number).where(*conditions(engine, wanted, below)).order_by(captures.c.number.desc())
        with engine.connect() as connection:
            numbers += connection.scalars(query.limit(limit + 1 - len(numbers)))
        below = floor(engine, wanted, below) if len(numbers) <= limit else None
        if below is None:
            break
    more = str(numbers[limit - 1]) if len(numbers) > limit else None
    shown = by_number(engine, numbers[:limit])
    return Page(tuple(shown[number] for number in numbers[:limit] if number in shown), more)


def capture(engine: Engine, capture_id: str) -> CaptureRow | None:
    """One capture, or None."""
    found = _captures(engine, _select().where(captures.c.capture_id == capture_id))
    return next(iter(found.values()), None)


def by_number(engine: Engine, numbers: Sequence[int]) -> dict[int, CaptureRow]:
    """The captures with these numbers."""
    return _captures(engine, _select().where(captures.c.number.in_(numbers))) if numbers else {}


def ids_like(engine: Engine, start: str) -> list[str]:
    """The ids that start like this, two at most: enough to tell whether the start is unique."""
    with engine.connect() as connection:
        between = captures.c.capture_id >= start, captures.c.capture_id < start + "~"
        return list(connection.scalars(select(captures.c.capture_id).where(*between).limit(2)))


def manifests(engine: Engine, capture_ids: Sequence[str]) -> dict[str, Any]:
    """The manifests of these captures by id, parsed."""
    query = (
        select(captures.c.capture_id, texts.c.manifest)
        .join(texts, texts.c.number == captures.c.number)
        .where(captures.c.capture_id.in_(capture_ids))
    )
    with engine.connect() as connection:
        return {row.capture_id: json.loads(row.manifest) for row in connection.execute(query)}


def linked(engine: Engine, *, request_id: str = "", trace_id: str = "", limit: int = 200) -> list[Link]:
    """The different links that name this request or this trace."""
    condition = links.c.request_id == request_id if request_id else links.c.trace_id == trace_id
    query = select(links.c.request_id, links.c.trace_id, links.c.span_id).where(condition).distinct().limit(limit)
    with engine.connect() as connection:
        return [Link(*row) for row in connection.execute(query)]


def newest_change(engine: Engine) -> str:
    """A text that changes when captures come or go, cheap to ask for."""
    with engine.connect() as connection:
        return str(connection.scalar(select(meta.c.value).where(meta.c.name == "changes")))


def _select() -> Select[Any]:
    return select(captures.c.number, *LIST_COLUMNS, texts.c.stack).join(texts, texts.c.number == captures.c.number)


def _captures(engine: Engine, query: Select[Any]) -> dict[int, CaptureRow]:
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        found = [row.number for row in rows]
        by_capture: dict[int, list[Link]] = {}
        for link in connection.execute(select(links).where(links.c.number.in_(found))) if found else ():
            by_capture.setdefault(link.number, []).append(Link(link.request_id, link.trace_id, link.span_id))
    return {row.number: _capture(row, by_capture.get(row.number, [])) for row in rows}


def _capture(row: Row[Any], its_links: list[Link]) -> CaptureRow:
    columns = {name: value for name, value in row._mapping.items() if name != "number"}
    columns["stack"] = tuple(json.loads(columns["stack"]))
    return CaptureRow(**columns, links=tuple(its_links))
