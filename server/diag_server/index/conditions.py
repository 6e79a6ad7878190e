"""How a filter is said in SQL, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, UnaryExpression, literal, or_, select
from sqlalchemy.sql.operators import custom_op

from diag.model import parse_stamp
from diag_server.index.rows import Filter, number_at
from diag_server.index.schema import captures, links, search, texts

# As many captures are looked at where something has to be counted that no count is kept of, or searched for a word that
# is nearly everywhere.
WINDOW = 5_000
TERMS = 10  # more words than this are no search
TRIGRAM = 3


def conditions(engine: Engine, wanted: Filter, below: int | None = None) -> list[ColumnElement[bool]]:
    """What a capture must be; `below` is the number that it must come before.

    A text search on SQLite looks at the newest WINDOW hits only; `floor` tells where to go on.
    """
    c = captures.c
    found: list[ColumnElement[bool]] = []
    for name, column in (("service", c.service), ("fingerprint", c.fingerprint)):
        if getattr(wanted, name):
            found.append(column == getattr(wanted, name))
    narrow = engine.dialect.name == "sqlite" and any(
        (wanted.service, wanted.instance, wanted.request, wanted.trace, wanted.q)
    )
    for name, column in (("kind", c.kind), ("level", c.level)):
        if getattr(wanted, name):
            # Nearly every capture is a crash. SQLite likes that index, because it leads through them in the order that
            # is wanted; the `+` forbids it where another leads to fewer (sqlite.org/optoverview.html, section 2.2).
            known = UnaryExpression(column, operator=custom_op("+"), type_=column.type) if narrow else column
            found.append(known == getattr(wanted, name))
    if wanted.instance:
        found.append(or_(c.instance_id == wanted.instance, c.name == wanted.instance))
    for value, column in ((wanted.request, links.c.request_id), (wanted.trace, links.c.trace_id)):
        if value:
            found.append(c.number.in_(select(links.c.number).where(column == value)))
    return [*found, *_between(c.number, wanted, below), *_words(engine, wanted, below)]


def floor(engine: Engine, wanted: Filter, below: int | None = None) -> int | None:
    """The oldest of the hits that `conditions` looked at, where there may be more below it."""
    hits = _hits(engine, wanted, below)
    if hits is None:
        return None
    with engine.connect() as connection:
        found: int | None = connection.scalar(hits.limit(1).offset(WINDOW - 1))
        return found


def _between(number: ColumnElement[int], wanted: Filter, below: int | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.since:
        found.append(number >= number_at(parse_stamp(wanted.since)))
    if wanted.until:
        found.append(number < number_at(parse_stamp(wanted.until)))
    if below is not None:
        found.append(number < below)
    return found


def _words(engine: Engine, wanted: Filter, below: int | None) -> list[ColumnElement[bool]]:
    hits = _hits(engine, wanted, below)
    terms = [term for term in _terms(wanted) if hits is None or len(term) < TRIGRAM]
    found: list[ColumnElement[bool]] = []
    if hits is not None:
        # A limit makes SQLite read the hits once, newest first, instead of asking for each capture.
        found.append(captures.c.number.in_(hits.limit(WINDOW)))
    if terms:
        has_all = [texts.c.words.contains(term, autoescape=True) for term in terms]
        found.append(captures.c.number.in_(select(texts.c.number).where(*has_all)))
    return found


def _hits(engine: Engine, wanted: Filter, below: int | None) -> Select[Any] | None:
    """The numbers that SQLite's trigrams find, newest first; None on other databases and for shorter words."""
    long = [term for term in _terms(wanted) if len(term) >= TRIGRAM]
    if not long or engine.dialect.name != "sqlite":
        return None
    # In double quotes a term has no operators (sqlite.org/fts5.html, section 3.1).
    quoted = " AND ".join('"{}"'.format(term.replace('"', '""')) for term in long)
    number = search.c.rowid
    matching = search.c.words.op("MATCH")(literal(quoted))
    return select(number).where(matching, *_between(number, wanted, below)).order_by(number.desc())


def _terms(wanted: Filter) -> list[str]:
    return wanted.q.lower().replace("\0", " ").split()[:TERMS]
