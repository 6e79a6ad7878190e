"""How many, where and since when. Where no count is kept of what is asked, the newest WINDOW that match are counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CTE, Engine, Row, Select, case, distinct, func, select

from diag.model import parse_stamp
from diag_server.index.conditions import WINDOW, conditions
from diag_server.index.read import by_number
from diag_server.index.rows import (
    CHANCE,
    HOUR_MS,
    Filter,
    GroupRow,
    InstanceRow,
    ProcessRow,
    hour_of,
    number_at,
    time_of,
)
from diag_server.index.schema import captures, seen_on
from diag_server.index.schema import groups as kept_groups
from diag_server.index.schema import hours as kept_hours
from diag_server.index.schema import instances as kept_instances
from diag_server.index.schema import processes as kept_processes

SEEN_ON = 1_000  # so many instances of a group are counted
COUNTED = [
    captures.c[name] for name in ("number", "kind", "fingerprint", "instance_id", "pid", "start_time", "repeats")
]


def groups(engine: Engine, wanted: Filter, limit: int = 50) -> list[GroupRow]:
    """The fingerprints among the captures that match, the one seen last first."""
    exact = _asks_only(wanted, "kind", "fingerprint")
    query = _kept_groups(wanted, limit) if exact else _window_groups(_window(engine, wanted))
    with engine.connect() as connection:
        rows = connection.execute(query.limit(limit)).all()
    newest = by_number(engine, [row.last for row in rows])
    return [
        GroupRow(
            row.fingerprint,
            int(row.number),
            time_of(row.first),
            time_of(row.last),
            abs(row.instances),
            newest[row.last],
            partial=_is_partial(row),
            more_instances=row.instances < 0,
        )
        for row in rows
        if row.last in newest
    ]


def instances(engine: Engine, wanted: Filter, limit: int = 200) -> list[InstanceRow]:
    """The instances among the captures that match, the one seen last first."""
    exact = _asks_only(wanted, "instance", "service")
    query = _kept_instances(wanted) if exact else _window_instances(_window(engine, wanted))
    c = captures.c
    with engine.connect() as connection:
        rows = connection.execute(query.limit(limit)).all()
        faces = select(c.number, c.service, c.name, c.host).where(c.number.in_([row.last for row in rows]))
        newest = {face.number: face for face in connection.execute(faces)} if rows else {}
    return [
        InstanceRow(
            instance_id=row.instance_id,
            service=newest[row.last].service,
            name=newest[row.last].name,
            host=newest[row.last].host,
            captures=int(row.number),
            crashes=int(row.crashes),
            processes=row.processes,
            first_seen=time_of(row.first),
            last_seen=time_of(row.last),
            partial=_is_partial(row),
        )
        for row in rows
        if row.last in newest
    ]


def processes(engine: Engine, instance_id: str, limit: int = 100) -> list[ProcessRow]:
    """The processes of an instance that captures are of, the one seen last first."""
    c = kept_processes.c
    query = select(c.pid, c.start_time, c["count"].label("number"), c.crashes, c.last)
    query = query.where(c.instance_id == instance_id).order_by(c.last.desc(), c.pid).limit(limit)
    with engine.connect() as connection:
        return [
            ProcessRow(row.pid, row.start_time, row.number, row.crashes, time_of(row.last))
            for row in connection.execute(query)
        ]


def trends(engine: Engine, fingerprints: Sequence[str], hours: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """How often each fingerprint was seen in each hour; hours are the first 13 letters of a stamp, oldest first."""
    c = kept_hours.c
    wanted = [hour_of(number_at(parse_stamp(f"{hour}:00"))) for hour in hours]
    query = select(c.fingerprint, c.hour, func.sum(c["count"]).label("number")).group_by(c.fingerprint, c.hour)
    counts: dict[tuple[str, int], int] = {}
    with engine.connect() as connection:
        for row in connection.execute(query.where(c.fingerprint.in_(fingerprints), c.hour >= wanted[0])):
            counts[row.fingerprint, row.hour] = int(row.number)
    return {one: tuple(counts.get((one, hour), 0) for hour in wanted) for one in fingerprints}


def kinds(engine: Engine, since: datetime | None = None) -> dict[str, int]:
    """How many captures there are of each kind, since a time."""
    c, start = kept_hours.c, number_at(since or datetime.fromtimestamp(0, UTC))
    first_whole = -(-start // (CHANCE * HOUR_MS))
    whole = select(c.kind, func.sum(c["count"]).label("number")).where(c.fingerprint == "", c.hour >= first_whole)
    begun = select(captures.c.kind, func.sum(1 + captures.c.repeats).label("number")).where(
        captures.c.number >= start, captures.c.number < first_whole * CHANCE * HOUR_MS
    )
    found: dict[str, int] = {}
    with engine.connect() as connection:
        for query in (whole.group_by(c.kind), begun.group_by(captures.c.kind)):
            for row in connection.execute(query):
                found[row.kind] = found.get(row.kind, 0) + int(row.number)
    return dict(sorted(found.items()))


def total(engine: Engine) -> int:
    """How many captures there are."""
    return sum(kinds(engine).values())


def _asks_only(wanted: Filter, *names: str) -> bool:
    return all(name in names for name, value in asdict(wanted).items() if value)


def _window(engine: Engine, wanted: Filter) -> CTE:
    newest = select(*COUNTED).where(*conditions(engine, wanted)).order_by(captures.c.number.desc())
    return newest.limit(WINDOW + 1).cte("newest")


def _window_groups(newest: CTE) -> Select[Any]:
    c = newest.c
    return (
        select(
            c.fingerprint,
            *_counted(newest, func.sum(1 + c.repeats)),
            func.count(distinct(c.instance_id)).label("instances"),
        )
        .where(c.fingerprint.is_not(None))
        .group_by(c.fingerprint)
        .order_by(func.max(c.number).desc())
    )


def _window_instances(newest: CTE) -> Select[Any]:
    c = newest.c
    crashes = func.sum(case((c.kind == "crash", 1 + c.repeats), else_=0)).label("crashes")
    # Counted by process first: `count(DISTINCT …)` of two columns would have to sort texts.
    of_process = (
        select(c.instance_id, *_counted(newest, func.count()), crashes)
        .group_by(c.instance_id, c.start_time, c.pid)
        .subquery("process")
    )
    p = of_process.c
    return (
        select(
            p.instance_id,
            func.sum(p.number).label("number"),
            func.min(p.first).label("first"),
            func.max(p.last).label("last"),
            func.max(p.looked_at).label("looked_at"),
            func.sum(p.crashes).label("crashes"),
            func.count().label("processes"),
        )
        .group_by(p.instance_id)
        .order_by(func.max(p.last).desc())
    )


def _counted(newest: CTE, number: Any) -> Iterable[Any]:
    c = newest.c
    looked_at = select(func.count()).select_from(newest).correlate(None).scalar_subquery()
    yield number.label("number")
    yield func.min(c.number).label("first")
    yield func.max(c.number).label("last")
    yield looked_at.label("looked_at")


def _kept_groups(wanted: Filter, limit: int) -> Select[Any]:
    g, s, c, again = kept_groups.c, seen_on.c, captures.c, kept_groups.alias("again").c
    of_kind = [[one.kind == wanted.kind] if wanted.kind else [] for one in (g, s, again)]
    newest = (
        select(g.fingerprint, func.sum(g["count"]).label("number"), func.max(g.last).label("last"))
        .where(*of_kind[0], *([g.fingerprint == wanted.fingerprint] if wanted.fingerprint else []))
        .group_by(g.fingerprint)
        .order_by(func.max(g.last).desc())
        .limit(limit)
        .subquery("newest")
    )
    its = newest.c.fingerprint
    # A fingerprint may be on a hundred thousand instances. Below zero there are more than were looked at.
    some = (
        select(s.instance_id).where(s.fingerprint == its, *of_kind[1]).limit(SEEN_ON + 1).correlate(newest).subquery()
    )
    each = select(func.count().label("number")).select_from(some).group_by(some.c.instance_id).subquery()
    on = select(case((func.sum(each.c.number) > SEEN_ON, 1 - func.count()), else_=func.count())).select_from(each)
    # The first of each kind is one look into an index; the first of all kinds would be a walk through it.
    first = select(func.min(c.number)).where(c.fingerprint == again.fingerprint, c.kind == again.kind)
    first = select(func.min(first.scalar_subquery())).where(again.fingerprint == its, *of_kind[2])
    counted = on.scalar_subquery().label("instances"), first.scalar_subquery().label("first")
    return select(newest, *counted).order_by(newest.c.last.desc())


def _kept_instances(wanted: Filter) -> Select[Any]:
    i, p, c = kept_instances.c, kept_processes.c, captures.c
    some = select(func.count()).where(p.instance_id == i.instance_id).scalar_subquery()
    first = captures.alias("first").c
    oldest = select(func.min(first.number)).where(first.instance_id == i.instance_id).scalar_subquery()
    query = select(
        i.instance_id, i["count"].label("number"), i.crashes, i.last, some.label("processes"), oldest.label("first")
    )
    if wanted.service:
        query = query.where(c.number == i.last, c.service == wanted.service)
    if wanted.instance:
        named = select(c.instance_id).where(c.name == wanted.instance)
        query = query.where((i.instance_id == wanted.instance) | i.instance_id.in_(named.distinct()))
    return query.order_by(i.last.desc(), i.instance_id)


def _is_partial(row: Row[Any]) -> bool:
    return getattr(row, "looked_at", 0) > WINDOW
