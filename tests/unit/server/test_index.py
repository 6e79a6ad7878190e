"""The index: one row a capture, found by everything a person knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import deaths
import pytest
from diag_server.entries import entry
from diag_server.hostile import parse_json
from diag_server.index import counts, read, write
from diag_server.index.opening import open_engine
from diag_server.index.rows import Entry, Filter
from sqlalchemy import Engine

from diag.model import Link, now, stamp


@pytest.fixture
def engine(index_url: str) -> Iterator[Engine]:
    engine = open_engine(index_url, "file:///store default")
    yield engine
    engine.dispose()


def entry_of(made: deaths.Made) -> Entry:
    return entry(made.capture, parse_json(next(iter(made.files.values()))))


def found(engine: Engine, **wanted: str) -> list[str]:
    return [row.capture_id for row in read.find(engine, Filter(**wanted)).captures]


def test_a_second_delivery_changes_nothing(engine: Engine) -> None:
    """A capture has one row, one set of links and one hit however often it is delivered."""
    one = entry_of(deaths.made(deaths.segfault()))

    assert [write.add(engine, [one, one]), write.add(engine, [one])] == [1, 0]

    row = read.capture(engine, one.capture.capture_id)
    assert row is not None
    assert list(row.links) == list(one.capture.links)
    assert found(engine, q="price_of") == [one.capture.capture_id]


def test_lists_are_newest_first_and_continue(engine: Engine) -> None:
    """Cursors walk every capture once, newest first, also where two have the same time."""
    at = now()
    moments = [at, at, at, at - timedelta(minutes=1), at - timedelta(minutes=2)]
    entries = [entry_of(deaths.made(deaths.killed(at=moment))) for moment in moments]
    write.add(engine, entries)

    pages: list[list[str]] = []
    cursor = ""
    while True:
        page = read.find(engine, Filter(), limit=2, cursor=cursor)
        pages.append([row.capture_id for row in page.captures])
        if page.next is None:
            break
        cursor = page.next

    expected = sorted(entries, key=lambda one: (one.capture.time, one.capture.capture_id), reverse=True)
    assert [one for page in pages for one in page] == [one.capture.capture_id for one in expected]
    assert [len(page) for page in pages] == [2, 2, 1]


NAMES = ["price_of", "PRICE_OF", "libprice", "NULL pointer", "/checkout", "web-1", "sigsegv", "SIGSEGV shop", "NU"]


@pytest.mark.parametrize("q", [*NAMES, "price.c", "req-checkout-1", deaths.TRACE, deaths.TRACE[:9]])
def test_text_search_finds_parts_of_names(engine: Engine, q: str) -> None:
    """Functions, files, sentences, paths, hosts and ids are found by any part of them, in any case."""
    segfault, other = (
        deaths.made(deaths.segfault()),
        deaths.made(deaths.exception(instance=deaths.instance(host="db-9"))),
    )
    write.add(engine, [entry_of(segfault)])
    write.add(engine, [entry_of(other.with_manifest(links=(), capture_id=other.id))])

    assert segfault.id in found(engine, q=q)


@pytest.mark.parametrize(
    "q", ["nowhere", "price_of nowhere", "KeyError", "pri%of", 'a"b OR price_of', "price* NOT x", "%", "zz"]
)
def test_text_search_takes_no_operators(engine: Engine, q: str) -> None:
    """What is typed is looked for as it is: quotes, wildcards and operators of the database mean nothing."""
    write.add(engine, [entry_of(deaths.made(deaths.segfault()))])

    assert found(engine, q=q) == []


def test_every_filter_narrows(engine: Engine) -> None:
    """Kind, level, instance by id and by name, service, request, trace, fingerprint and time each select."""
    at = now()
    old = deaths.made(deaths.killed(at=at - timedelta(days=3), instance=deaths.instance("batch", service="nightly")))
    new = deaths.made(deaths.segfault("req-a", at=at))
    event = deaths.made(deaths.stopped(at=at - timedelta(minutes=1)))
    write.add(engine, [entry_of(one) for one in (old, new, event)])

    assert found(engine, kind="event") == [event.id]
    assert found(engine, level="NATIVE") == [new.id]
    assert found(engine, instance="batch") == found(engine, instance="batch-7d9f") == [old.id]
    assert found(engine, service="nightly") == [old.id]
    assert found(engine, request="req-a") == [new.id]
    assert found(engine, request="req-") == []
    assert found(engine, trace=deaths.TRACE) == [new.id, old.id]
    assert found(engine, fingerprint=str(new.capture.fingerprint)) == [new.id]
    assert found(engine, since=stamp(at - timedelta(days=1))) == [new.id, event.id]
    assert found(engine, until=stamp(at - timedelta(days=1))) == [old.id]


def test_groups_count_and_show_their_latest(engine: Engine) -> None:
    """A group says how often, since when, on how many instances, and carries its newest capture."""
    at = now()
    three = [
        deaths.made(
            deaths.segfault(f"req-{n}", at=at - timedelta(minutes=n), instance=deaths.instance(f"shop-{n % 2}"))
        )
        for n in range(3)
    ]
    write.add(engine, [entry_of(one) for one in [*three, deaths.made(deaths.killed(at=at - timedelta(hours=1)))]])

    segfaults, kills = counts.groups(engine, Filter())

    assert (segfaults.count, segfaults.instances, kills.count) == (3, 2, 1)
    assert segfaults.latest.capture_id == three[0].id
    assert (segfaults.first_seen, segfaults.last_seen) == (stamp(at - timedelta(minutes=2)), stamp(at))
    assert segfaults.latest.stack[0]["function"] == "price_of"


@pytest.mark.parametrize("kind", ["", "crash"])
def test_instances_of_a_group_are_counted_so_far(engine: Engine, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A group on very many instances says so many and more; the overview must not read them all."""
    pods = [deaths.instance(f"web-{n}") for n in (1, 1, 2)]
    write.add(engine, [entry_of(deaths.made(deaths.killed(instance=pod))) for pod in pods])
    wanted = Filter(kind=kind)

    few = counts.groups(engine, wanted)[0]
    monkeypatch.setattr(counts, "SEEN_ON", 1)
    many = counts.groups(engine, wanted)[0]

    assert (few.instances, few.more_instances) == (2, False)
    assert (many.instances, many.more_instances) == (1, True)


def test_trends_count_by_the_hour(engine: Engine) -> None:
    """Counts fall into the hours they belong to; hours without any are zero."""
    at = now().replace(minute=30)
    made = [deaths.made(deaths.killed(at=at - timedelta(hours=back))) for back in (0, 0, 2)]
    write.add(engine, [entry_of(one) for one in made])
    hours = [stamp(at - timedelta(hours=back))[:13] for back in (3, 2, 1, 0)]

    trends = counts.trends(engine, [str(made[0].capture.fingerprint), "none"], hours)

    assert trends == {str(made[0].capture.fingerprint): (0, 1, 0, 2), "none": (0, 0, 0, 0)}


def test_instances_and_processes_are_counted(engine: Engine) -> None:
    """An instance knows its captures, crashes and processes; a re-used pid is another process."""
    first, again = deaths.instance(pid=7), deaths.instance(pid=7, start_time="2025-03-02T00:00:00.000+00:00")
    write.add(engine, [entry_of(deaths.made(deaths.segfault(instance=one))) for one in (first, again)])
    write.add(engine, [entry_of(deaths.made(deaths.live(instance=first)))])

    (instance,) = counts.instances(engine, Filter())

    assert (instance.captures, instance.crashes, instance.processes) == (3, 2, 2)
    assert [one.captures for one in counts.processes(engine, instance.instance_id)] == [2, 1]


def test_links_name_the_traces_of_a_request(engine: Engine) -> None:
    """A request leads to its traces and a trace to its requests."""
    made = deaths.made(deaths.segfault("req-a"))
    write.add(
        engine,
        [entry_of(made.with_manifest(links=(Link("req-a", "t1", "s1"), Link("req-a", "t1"), Link("req-b", "t1"))))],
    )

    assert {link.trace_id for link in read.linked(engine, request_id="req-a")} == {"t1"}
    assert {link.request_id for link in read.linked(engine, trace_id="t1")} == {"req-a", "req-b"}


def test_what_is_removed_is_found_no_more(engine: Engine) -> None:
    """Row, links and words go together."""
    made = deaths.made(deaths.segfault("req-a"))
    write.add(engine, [entry_of(made)])

    write.remove(engine, [made.id, "unknown"])

    assert found(engine) == found(engine, q="price_of") == read.linked(engine, request_id="req-a") == []
