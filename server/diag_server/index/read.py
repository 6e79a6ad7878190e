"""Every question the pages and the API ask of the index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Select, String, and_, case, cast, distinct, func, or_, select
from sqlalchemy.sql.elements import UnaryExpression

from diag.model import Link
from diag_server.index.rows import CaptureRow, Filter, GroupRow, InstanceRow, Page, ProcessRow
from diag_server.index.schema import captures, links, search

LIST_COLUMNS = [c for c in captures.c if c.name not in ("manifest", "words")]
NEWEST: tuple[UnaryExpression[Any], ...] = (captures.c.time.desc(), captures.c.capture_id.desc())
TERMS = 10  # more words than this are no search
CRASHES = func.sum(case((captures.c.kind == "crash", 1), else_=0))


def find(engine: Engine, wanted: Filter, limit: int = 50, cursor: str = "") -> Page:
    """The captures that match, newest first; `cursor` continues an earlier page."""
    query = select(*LIST_COLUMNS).where(*_conditions(engine, wanted)).order_by(*NEWEST).limit(limit + 1)
    moment, _, capture_id = cursor.partition("~")
    if capture_id:
        same_time = and_(captures.c.time == moment, captures.c.capture_id < capture_id)
        query = query.where(or_(captures.c.time < moment, same_time))
    rows = _captures(engine, query)
    more = f"{rows[limit - 1].time}~{rows[limit - 1].capture_id}" if len(rows) > limit else None
    return Page(tuple(rows[:limit]), more)


def capture(engine: Engine, capture_id: str) -> CaptureRow | None:
    """One capture, or None."""
    rows = _captures(engine, select(*LIST_COLUMNS).where(captures.c.capture_id == capture_id))
    return rows[0] if rows else None


def ids_like(engine: Engine, start: str) -> list[str]:
    """The ids that start like this, two at most: enough to tell whether the start is unique."""
    with engine.connect() as connection:
        matches = captures.c.capture_id.startswith(start, autoescape=True)
        return list(connection.scalars(select(captures.c.capture_id).where(matches).limit(2)))


def manifests(engine: Engine, capture_ids: Sequence[str]) -> dict[str, Any]:
    """The manifests of these captures by id, parsed."""
    query = select(captures.c.capture_id, captures.c.manifest).where(captures.c.capture_id.in_(capture_ids))
    with engine.connect() as connection:
        return {row.capture_id: json.loads(row.manifest) for row in connection.execute(query)}


def groups(engine: Engine, wanted: Filter, limit: int = 50) -> list[GroupRow]:
    """The fingerprints among the captures that match, the one seen last first."""
    found = (
        select(
            captures.c.fingerprint,
            func.count().label("count"),
            func.min(captures.c.time).label("first_seen"),
            func.max(captures.c.time).label("last_seen"),
            func.count(distinct(captures.c.instance_id)).label("instances"),
            func.max(captures.c.capture_id).label("latest"),
        )
        .where(captures.c.fingerprint.is_not(None), *_conditions(engine, wanted))
        .group_by(captures.c.fingerprint)
        .order_by(func.max(captures.c.time).desc(), captures.c.fingerprint)
        .limit(limit)
    )
    with engine.connect() as connection:
        rows = connection.execute(found).all()
    latest = {row.latest for row in rows}
    newest = {row.capture_id: row for row in _captures(engine, _by_id(latest))} if latest else {}
    return [_group(row, newest[row.latest]) for row in rows if row.latest in newest]


def trends(engine: Engine, fingerprints: Sequence[str], hours: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """How often each fingerprint was seen in each hour; hours are the first 13 letters of a stamp, oldest first."""
    hour = func.substr(captures.c.time, 1, 13)
    query = (
        select(captures.c.fingerprint, hour.label("hour"), func.count().label("count"))
        .where(captures.c.fingerprint.in_(fingerprints), captures.c.time >= hours[0])
        .group_by(captures.c.fingerprint, hour)
    )
    counts: dict[tuple[str, str], int] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            counts[row.fingerprint, row.hour] = row._mapping["count"]
    return {one: tuple(counts.get((one, hour), 0) for hour in hours) for one in fingerprints}


def instances(engine: Engine, wanted: Filter, limit: int = 200) -> list[InstanceRow]:
    """The instances among the captures that match, the one seen last first."""
    c = captures.c
    query = (
        select(
            c.instance_id,
            func.max(c.service).label("service"),
            func.max(c.name).label("name"),
            func.max(c.host).label("host"),
            func.count().label("captures"),
            CRASHES.label("crashes"),
            func.count(distinct(c.start_time + " " + cast(c.pid, String))).label("processes"),
            func.min(c.time).label("first_seen"),
            func.max(c.time).label("last_seen"),
        )
        .where(*_conditions(engine, wanted))
        .group_by(c.instance_id)
        .order_by(func.max(c.time).desc(), c.instance_id)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [InstanceRow(**row._mapping) for row in connection.execute(query)]


def processes(engine: Engine, instance_id: str, limit: int = 100) -> list[ProcessRow]:
    """The processes of an instance that captures are of, the one seen last first."""
    c = captures.c
    query = (
        select(
            c.pid,
            c.start_time,
            func.count().label("captures"),
            CRASHES.label("crashes"),
            func.max(c.time).label("last_seen"),
        )
        .where(c.instance_id == instance_id)
        .group_by(c.pid, c.start_time)
        .order_by(func.max(c.time).desc(), c.pid)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [ProcessRow(**row._mapping) for row in connection.execute(query)]


def linked(engine: Engine, *, request_id: str = "", trace_id: str = "", limit: int = 200) -> list[Link]:
    """The different links that name this request or this trace."""
    condition = links.c.request_id == request_id if request_id else links.c.trace_id == trace_id
    query = select(links.c.request_id, links.c.trace_id, links.c.span_id).where(condition).distinct().limit(limit)
    with engine.connect() as connection:
        return [Link(*row) for row in connection.execute(query)]


def kinds(engine: Engine, since: str = "") -> dict[str, int]:
    """How many captures there are of each kind, since a time."""
    query = (
        select(captures.c.kind, func.count().label("number")).where(captures.c.time >= since).group_by(captures.c.kind)
    )
    with engine.connect() as connection:
        return {row.kind: row.number for row in connection.execute(query.order_by(captures.c.kind))}


def newest_change(engine: Engine) -> str:
    """A text that changes when captures come or go, cheap to ask for."""
    with engine.connect() as connection:
        count, last = connection.execute(
            select(func.count(), func.max(captures.c.capture_id)).select_from(captures)
        ).one()
        return f"{count}-{last}"


def _conditions(engine: Engine, wanted: Filter) -> list[ColumnElement[bool]]:
    c = captures.c
    same = {"kind": c.kind, "level": c.level, "service": c.service, "fingerprint": c.fingerprint}
    conditions = [column == getattr(wanted, name) for name, column in same.items() if getattr(wanted, name)]
    if wanted.instance:
        conditions.append(or_(c.instance_id == wanted.instance, c.name == wanted.instance))
    if wanted.since:
        conditions.append(c.time >= wanted.since)
    if wanted.until:
        conditions.append(c.time < wanted.until)
    for value, column in ((wanted.request, links.c.request_id), (wanted.trace, links.c.trace_id)):
        if value:
            conditions.append(c.capture_id.in_(select(links.c.capture_id).where(column == value)))
    return conditions + _text_conditions(engine, wanted.q)


def _text_conditions(engine: Engine, q: str) -> list[ColumnElement[bool]]:
    terms = q.replace("\0", " ").split()[:TERMS]
    if engine.dialect.name != "sqlite":
        return [captures.c.words.icontains(term, autoescape=True) for term in terms]
    # A trigram index knows nothing of shorter words; in double quotes a term has no operators (FTS5, section 3).
    long = [f'"{term.replace(chr(34), chr(34) * 2)}"' for term in terms if len(term) >= 3]
    short = [captures.c.words.icontains(term, autoescape=True) for term in terms if len(term) < 3]
    if not long:
        return short
    matches = select(search.c.capture_id).where(search.c.words.op("MATCH")(" AND ".join(long)))
    return [captures.c.capture_id.in_(matches), *short]


def _by_id(capture_ids: Iterable[str]) -> Select[Any]:
    return select(*LIST_COLUMNS).where(captures.c.capture_id.in_(sorted(capture_ids)))


def _captures(engine: Engine, query: Select[Any]) -> list[CaptureRow]:
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        found = [row.capture_id for row in rows]
        by_capture: dict[str, list[Link]] = {}
        for link in connection.execute(select(links).where(links.c.capture_id.in_(found))) if found else ():
            by_capture.setdefault(link.capture_id, []).append(Link(link.request_id, link.trace_id, link.span_id))
    return [_capture(row, by_capture.get(row.capture_id, [])) for row in rows]


def _capture(row: Row[Any], its_links: list[Link]) -> CaptureRow:
    columns = dict(row._mapping)
    columns["stack"] = tuple(json.loads(columns["stack"]))
    return CaptureRow(**columns, links=tuple(its_links))


def _group(row: Row[Any], latest: CaptureRow) -> GroupRow:
    return GroupRow(row.fingerprint, row._mapping["count"], row.first_seen, row.last_seen, row.instances, latest)
