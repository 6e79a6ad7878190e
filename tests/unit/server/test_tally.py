"""What is counted stays exact, however captures come and go."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import deaths
import pytest
from diag_server.entries import entry
from diag_server.index import conditions, counts, read, tally, upkeep, write
from diag_server.index.opening import open_engine
from diag_server.index.rows import Entry, Filter
from diag_server.index.schema import captures, links, texts
from sqlalchemy import Engine, select

from diag.model import new_capture_id, now, stamp


@pytest.fixture
def engine(index_url: str) -> Iterator[Engine]:
    engine = open_engine(index_url, "a")
    yield engine
    engine.dispose()


def some_entries(number: int) -> list[Entry]:
    """Captures of a few fingerprints, kinds, instances and processes, over two days; some without a fingerprint."""
    chance, end, made = random.Random(5), now(), deaths.made(deaths.segfault()).capture
    found = []
    for _ in range(number):
        at = end - timedelta(minutes=chance.randrange(2880))
        found.append(
            replace(
                made,
                capture_id=new_capture_id(at),
                time=stamp(at),
                kind=chance.choice(["crash", "crash", "event"]),
                fingerprint=chance.choice(["1:a", "1:b", "1:c", None]),
                instance=deaths.instance(f"shop-{chance.randrange(3)}", pid=chance.randrange(2)),
            )
        )
    return [entry(one, {}) for one in found]


def kept(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {one.name: sorted(map(tuple, connection.execute(select(one)))) for one in tally.TABLES}


def test_counts_are_those_of_the_captures(engine: Engine) -> None:
    """After deliveries, second deliveries, replacements and removals each count is what counting anew finds."""
    entries = some_entries(120)
    for start in range(0, 120, 30):
        write.add(engine, entries[start : start + 40])
    write.add(engine, entries[10:30], again=True)
    write.remove(engine, [one.capture.capture_id for one in entries[::3]])
    write.remove(engine, [one.capture.capture_id for one in entries[::3]])

    left = [one.capture for n, one in enumerate(entries) if n % 3]
    before = kept(engine)
    upkeep.recount(engine)

    assert kept(engine) == before and before["diag_groups"]
    assert counts.kinds(engine) == Counter(one.kind for one in left)
    groups = {one.fingerprint: one for one in counts.groups(engine, Filter())}
    for fingerprint, group in groups.items():
        its = [one for one in left if one.fingerprint == fingerprint]
        assert group.count == len(its)
        assert group.instances == len({one.instance.instance_id for one in its})
        assert (group.first_seen, group.last_seen) == (min(one.time for one in its), max(one.time for one in its))
    assert set(groups) == {"1:a", "1:b", "1:c"}


def test_nothing_is_left_of_what_all_went(engine: Engine) -> None:
    """When the last capture goes, every table is empty."""
    entries = some_entries(20)
    write.add(engine, entries)

    write.remove(engine, [one.capture.capture_id for one in entries])

    assert set(map(tuple, kept(engine).values())) == {()}
    with engine.connect() as connection:
        assert [connection.execute(select(one)).all() for one in (captures, links, texts)] == [[], [], []]


@pytest.mark.parametrize(
    "wanted", [Filter(kind="crash"), Filter(service="shop"), Filter(instance="shop-1-7d9f"), Filter()], ids=str
)
def test_kept_counts_and_counting_agree(engine: Engine, wanted: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists say the same whether they come from kept counts or from counting what matches."""
    write.add(engine, some_entries(90))
    kept_groups, kept_instances = counts.groups(engine, wanted), counts.instances(engine, wanted)

    monkeypatch.setattr(counts, "_asks_only", lambda wanted, *names: False)

    assert counts.groups(engine, wanted) == kept_groups and kept_groups
    if not wanted.kind:
        assert counts.instances(engine, wanted) == kept_instances and kept_instances


def test_counting_has_a_window_and_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more match than are counted, the newest are, and the rows are marked."""
    write.add(engine, some_entries(60))
    everything = counts.groups(engine, Filter(service="shop"))
    for module in (counts, conditions):
        monkeypatch.setattr(module, "WINDOW", 20)

    some = counts.groups(engine, Filter(service="shop"))

    assert not any(one.partial for one in everything)
    assert all(one.partial for one in some) and sum(one.count for one in some) <= 21


def test_search_goes_beyond_its_window(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that nearly everything has, with a filter that few match: every one of them is found, in order."""
    entries = some_entries(60)
    write.add(engine, entries)
    monkeypatch.setattr(conditions, "WINDOW", 7)
    its = [one.capture for one in entries if one.capture.fingerprint == "1:a"]

    found, cursor = [], ""
    while True:
        page = read.find(engine, Filter(q="shop", fingerprint="1:a"), limit=3, cursor=cursor)
        found += [row.capture_id for row in page.captures]
        if page.next is None:
            break
        cursor = page.next

    expected = sorted(its, key=lambda one: (one.time, one.capture_id), reverse=True)
    assert found == [one.capture_id for one in expected] and len(found) > 7


def test_two_captures_with_one_number_are_two(engine: Engine) -> None:
    """The same millisecond and the same random bits, made so on purpose, hide no capture."""
    one = some_entries(1)[0]
    ids = {one.capture.capture_id[:-4] + f"{n:04x}" for n in range(5)}

    write.add(engine, [entry(replace(one.capture, capture_id=capture_id), {}) for capture_id in sorted(ids)])

    assert {row.capture_id for row in read.find(engine, Filter()).captures} == ids


def test_long_and_odd_texts_are_kept(engine: Engine) -> None:
    """NUL, names of any length and any script come in, and are found by the same text."""
    made = deaths.made(deaths.segfault()).capture
    name = "shop\0" + "Größe🙂" * 2000
    odd = replace(made, fingerprint=f"1:{name}", kind="k" * 5000, instance=deaths.instance(name, service=name))
    write.add(engine, [entry(odd, {})])

    for wanted in (Filter(service=name), Filter(instance=name), Filter(fingerprint=f"1:{name}"), Filter(q="GRÖSSE")):
        assert [row.capture_id for row in read.find(engine, wanted).captures] == (
            [] if wanted.q else [made.capture_id]
        ), wanted
    assert [row.capture_id for row in read.find(engine, Filter(q="größe🙂")).captures] == [made.capture_id]
    assert counts.groups(engine, Filter())[0].count == counts.instances(engine, Filter())[0].captures == 1
    write.remove(engine, [made.capture_id])
    assert counts.groups(engine, Filter()) == counts.instances(engine, Filter()) == []
