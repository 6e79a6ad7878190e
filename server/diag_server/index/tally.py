"""What is counted of captures, kept exact as they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, and_, bindparam, case, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from diag_server.index.rows import hour_of
from diag_server.index.schema import LIMIT, captures, groups, hours, instances, processes, seen_on

Row = RowMapping | Mapping[str, Any]
Sums = dict[tuple[Any, ...], Counter[str]]
TABLES = (groups, seen_on, instances, processes, hours)
SUMMED = ("count", "crashes")


def count(connection: Connection, rows: Sequence[Row]) -> None:
    """Count captures that came."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for table in TABLES:
        values = [dict(zip(_keys(table), key, strict=True)) | sums for key, sums in sorted(_sums(table, rows).items())]
        if not values:
            continue
        statement = insert(table)
        old, new = table.c, statement.excluded
        changes = {name: old[name] + new[name] for name in SUMMED if name in old}
        if "last" in old:
            changes["last"] = case((new.last > old.last, new.last), else_=old.last)
        upsert = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes)
        connection.execute(upsert, values)


def discount(connection: Connection, rows: Sequence[Row]) -> None:
    """Take captures out of the counts, after their rows have gone."""
    for table in TABLES:
        values = [
            {f"its_{name}": value for name, value in zip(_keys(table), key, strict=True)}
            | {f"less_{name}": sums[name] for name in SUMMED if name in table.c}
            for key, sums in sorted(_sums(table, rows).items())
        ]
        if not values:
            continue
        its = and_(*(table.c[name] == bindparam(f"its_{name}") for name in _keys(table)))
        changes = {name: table.c[name] - bindparam(f"less_{name}") for name in SUMMED if name in table.c}
        connection.execute(update(table).where(its).values(changes), values)
        keys = [{name: value for name, value in one.items() if name.startswith("its_")} for one in values]
        connection.execute(delete(table).where(its, table.c["count"] <= 0), keys)
        if "last" in table.c:
            gone = ~exists().where(captures.c.number == table.c.last)
            connection.execute(update(table).where(its, gone).values(last=_newest(table)), keys)


def recount(connection: Connection) -> None:
    """Count everything anew from the captures themselves."""
    for table in TABLES:
        connection.execute(delete(table))
    after, step = -1, select(*(captures.c[name] for name in ("number", *NAMES))).order_by(captures.c.number).limit(5000)
    while rows := connection.execute(step.where(captures.c.number > after)).mappings().all():
        count(connection, rows)
        after = rows[-1]["number"]


NAMES = ("kind", "fingerprint", "instance_id", "pid", "start_time", "repeats")
REPEATED = (groups, seen_on, hours)  # count what happened; the others count what was captured


def _keys(table: Table) -> list[str]:
    return [one.name for one in table.primary_key]


def _newest(table: Table) -> Any:
    same = [captures.c[name] == table.c[name] for name in _keys(table)]
    return select(func.max(captures.c.number)).where(*same).scalar_subquery()


def _sums(table: Table, rows: Iterable[Row]) -> Sums:
    """What the rows add to the table, by its key."""
    sums: Sums = {}
    for row in rows:
        for key in _places(table, row):
            one = sums.setdefault(key, Counter())
            times = 1 + row["repeats"]
            one["count"] += times if table in REPEATED else 1
            if "crashes" in table.c:
                one["crashes"] += times * (row["kind"] == "crash")
            if "last" in table.c:
                one["last"] = max(one["last"], row["number"])
    return sums


def _places(table: Table, row: Row) -> list[tuple[Any, ...]]:
    """The keys under which the table counts this capture; texts are cut as the columns cut them."""
    kind, instance, start = (row[name][:LIMIT] for name in ("kind", "instance_id", "start_time"))
    fingerprint = (row["fingerprint"] or "")[:LIMIT]
    if table is hours:
        hour = hour_of(row["number"])
        return [("", kind, hour), *([(fingerprint, kind, hour)] if fingerprint else [])]
    if table is instances:
        return [(instance,)]
    if table is processes:
        return [(instance, row["pid"], start)]
    if not fingerprint:
        return []
    return [(fingerprint, kind, instance)] if table is seen_on else [(fingerprint, kind)]
