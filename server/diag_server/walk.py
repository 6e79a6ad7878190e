"""Reading the whole store, hour by hour, newest first, with no more in memory than an hour has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine

from diag.upload import keys
from diag.upload.store import Store
from diag_server.index import notes, upkeep, write
from diag_server.index.notes import REINDEX, Walk

DEPTH = 4  # yyyy/mm/dd/hh
ALL = "~"  # sorts after every id

# Takes ids, and whether those that are known are read again; returns how many are in the index now.
Take = Callable[[list[str], bool], int]


def hours(store: Store, tenant: str, before: str = "") -> Iterator[str]:
    """The hours `yyyy/mm/dd/hh` that the store has, newest first; with `before` only older ones. Raises StoreError."""
    yield from _below(store, f"v1/{tenant}/", "", before, DEPTH)


def begun_in(store: Store, tenant: str, hour: str) -> list[str]:
    """The captures that a listing of the hour shows, whole or not yet, newest first. Raises StoreError."""
    names = (folder.rstrip("/").rpartition("/")[2] for folder in store.folders(f"v1/{tenant}/{hour}/"))
    return sorted((name for name in names if keys.valid_id(name)), reverse=True)


def whole_in(store: Store, tenant: str, hour: str) -> list[str]:
    """The captures that a listing of the hour shows with their manifest, newest first. Raises StoreError.

    It lists every object, where `begun_in` lists folders: dearer, but a capture whose manifest is gone is gone.
    """
    parts = (keys.parse(found.key) for found in store.objects(f"v1/{tenant}/{hour}/"))
    return sorted((one[1] for one in parts if one and one[2] == keys.MANIFEST), reverse=True)


def first_id(hour: str) -> str:
    """What every id of this hour and of later ones sorts after."""
    year, month, day, hour_of_day = map(int, hour.split("/"))
    millis = f"{int(datetime(year, month, day, hour_of_day, tzinfo=UTC).timestamp() * 1000):012x}"
    return f"{millis[:8]}-{millis[8:]}"


def run(store: Store, engine: Engine, tenant: str, walk: Walk, take: Take) -> None:
    """Bring the index in line with the store, from where the walk is to its end.

    How far it is stands in the index after each hour, so that whoever is killed here is followed by one that goes on.
    Raises StoreError, and what `take` raises to break it off.
    """
    end = first_id(walk.hour) if walk.hour else ALL
    again = walk.reason == REINDEX
    for hour in hours(store, tenant, walk.hour):
        listed = whole_in(store, tenant, hour)
        start = first_id(hour)
        known = write.ids(engine, start, end)  # also of the hours between, which the listing does not show
        _remove_gone(store, engine, tenant, known.difference(listed))
        taken = take([one for one in listed if again or one not in known], again)
        walk, end = replace(walk, hour=hour, captures=walk.captures + taken), start
        notes.set_walk(engine, walk)
    _remove_gone(store, engine, tenant, write.ids(engine, "", end))
    if again:
        upkeep.recount(engine)
    upkeep.learn(engine)
    notes.set_walk(engine, None)


def _remove_gone(store: Store, engine: Engine, tenant: str, missed: set[str]) -> None:
    """Take out what the store does not have. A listing may be late or broken: each capture is asked for by its key."""
    gone = [one for one in sorted(missed) if store.stat(keys.key(tenant, one, keys.MANIFEST)) is None]
    write.remove(engine, gone)


def _below(store: Store, prefix: str, path: str, before: str, depth: int) -> Iterator[str]:
    names = [folder.rstrip("/").rpartition("/")[2] for folder in store.folders(prefix + path)]
    for name in sorted(filter(_is_number, names), reverse=True):
        inner = path + name
        if before and inner > before[: len(inner)]:
            continue
        if depth > 1:
            yield from _below(store, prefix, f"{inner}/", before, depth - 1)
        elif inner != before and _is_hour(inner):
            yield inner


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _is_hour(path: str) -> bool:
    try:
        return datetime.strptime(path, "%Y/%m/%d/%H").strftime("%Y/%m/%d/%H") == path and path >= "1970/01/01/00"
    except ValueError:
        return False
