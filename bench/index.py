"""The viewer's index at a million captures: how fast they come in, and how long look-ups and pages take."""

from __future__ import annotations

import random
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diag_server.index import counts, notes, read
from diag_server.index.opening import open_engine
from diag_server.index.rows import Filter
from index_fill import BATCH, DAYS, FINGERPRINTS, SERVICES, Sample, filled
from measure import DIAG, HERE, Table, at_most, scratch, started
from sqlalchemy import Engine

from diag.model import now, stamp
from diag.upload import keys

BUDGET_MS = 100


def measure(*, quick: bool, keep: Path | None = None) -> list[Table]:
    """A table with two columns for each database. What is kept in a folder is measured again without filling it."""
    captures, looks = (50_000, 40) if quick else (1_000_000, 200)
    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        databases = {"SQLite": "index.sqlite"}
        server = _postgres(stack, keep and keep / f"postgres-{captures}")
        if server:
            databases["PostgreSQL"] = server.url()
        for name, place in databases.items():
            with scratch() as environment:
                folder = (keep or Path(environment["HOME"])) / f"{name}-{captures}"
                (folder / "store").mkdir(parents=True, exist_ok=True)
                url = place if "://" in place else str(folder / place)
                results[name] = _measure_one(url, folder, environment, captures, looks)
    notes_below = [] if server else ["PostgreSQL is not installed."]
    return [_table(results, captures, looks, notes_below)]


def _measure_one(url: str, folder: Path, environment: dict[str, str], captures: int, looks: int) -> dict[str, Any]:
    store = folder / "store"
    engine = open_engine(url, f"{store.as_uri()} default")
    try:
        sample = filled(engine, captures, folder / "sample.json")
        times = {name: _timed(ask, looks) for name, ask in _questions(engine, sample).items()}
        for capture_id, manifest in sample.manifests.items():  # those whose pages are asked for
            path = store / keys.key("default", capture_id, keys.MANIFEST)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(manifest)
        # The others are not in the store: nothing may be looked for there, or they would be taken for gone.
        notes.set_walk(engine, None)
        for name in (notes.WALKED, notes.SWEPT):
            notes.set_done(engine, name, time.time())
        with _viewer(url, store, environment) as address:
            for name, path in _pages(sample).items():
                _get(address + path())  # the first one compiles the template, once in a viewer's life
                times[name] = _timed(lambda path=path: _get(address + path()), looks)  # type: ignore[misc]
        return {"rate": sample.rate, "times": times}
    finally:
        engine.dispose()


def _questions(engine: Engine, sample: Sample) -> dict[str, Callable[[], object]]:
    """What is asked of the index alone, in this process."""
    chance = random.Random(8)

    def found(**wanted: str) -> object:
        return read.find(engine, Filter(**wanted))

    def some_day() -> str:
        return stamp(now() - timedelta(days=DAYS) * chance.random())

    return {
        "by request": lambda: found(request=chance.choice(sample.requests)),
        "by trace": lambda: found(trace=chance.choice(sample.traces)),
        "by fingerprint": lambda: found(fingerprint=chance.choice(sample.fingerprints)),
        "by time": lambda: found(until=some_day()),
        "by service and kind": lambda: found(service=f"shop-{chance.randrange(SERVICES)}", kind="event"),
        "text: an id": lambda: found(q=chance.choice(sample.requests)[4:]),
        "text: a function": lambda: found(q=f"price_of_{chance.randrange(FINGERPRINTS)}"),
        "text: in every capture": lambda: found(q="checkoutfailed"),
        "text: nowhere": lambda: found(q=f"nothing{chance.randrange(10**6)}"),
        "groups of a service": lambda: counts.groups(engine, Filter(service=f"shop-{chance.randrange(20)}"), 30),
    }


def _pages(sample: Sample) -> dict[str, Callable[[], str]]:
    chance = random.Random(9)
    return {
        "page: overview": lambda: "",
        "page: overview, a service": lambda: f"?service=shop-{chance.randrange(20)}",
        "page: overview, a text": lambda: f"?q=price_of_{chance.randrange(FINGERPRINTS)}",
        "page: group": lambda: f"groups/{quote(chance.choice(sample.fingerprints))}",
        "page: instances": lambda: "instances",
        "page: instance": lambda: f"instances/{chance.choice(sample.instances)}",
        "page: capture": lambda: f"captures/{chance.choice(list(sample.manifests))}",
        "page: request": lambda: f"requests/{chance.choice(sample.requests)}",
        "page: trace": lambda: f"traces/{chance.choice(sample.traces)}",
    }


@contextmanager
def _viewer(url: str, store: Path, environment: dict[str, str]) -> Iterator[str]:
    command = [*DIAG, "serve", "--port", "0", "--store", store.as_uri(), "--index", url]
    with started(command, environment):
        said = Path(environment["HOME"]) / "stderr"
        ends = time.monotonic() + 60
        while "viewer at" not in (text := said.read_text()):
            if time.monotonic() > ends:
                raise SystemExit(f"The viewer did not start: {text}")
            time.sleep(0.05)
        yield text.partition("viewer at ")[2].split()[0]


def _get(address: str) -> None:
    with urllib.request.urlopen(address, timeout=60) as answer:
        answer.read()


def _timed(ask: Callable[[], object], looks: int) -> tuple[float, float]:
    """(median, 95th percentile) in ms."""
    times = []
    for _ in range(looks):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _postgres(stack: ExitStack, folder: Path | None) -> Any:
    """The tests' own PostgreSQL, writing to the disk as one does; None where none is installed."""
    sys.path.append(str(HERE.parent / "tests"))
    import pytest
    from postgres import serving_postgres

    try:
        return stack.enter_context(serving_postgres("shared_buffers=512MB", "max_wal_size=4GB", kept=folder))
    except pytest.skip.Exception:
        return None


def _table(results: dict[str, dict[str, Any]], captures: int, looks: int, more: list[str]) -> Table:
    columns = ["", *(f"{name}, {what}" for name in results for what in ("p50 ms", "p95 ms")), "budget"]
    rows = [("captures a second in", *(cell for one in results.values() for cell in (f"{one['rate']:.0f}", "")), "")]
    for name in next(iter(results.values()))["times"]:
        pairs = [one["times"][name] for one in results.values()]
        worst = max(pair[1] for pair in pairs)
        verdict = at_most(worst, BUDGET_MS, "ms") if name.startswith("page") else ""
        rows.append((name, *(f"{value:.1f}" for pair in pairs for value in pair), verdict))
    return Table(
        f"Index: {captures:,} captures of {SERVICES} services with {FINGERPRINTS:,} fingerprints in {DAYS} days",
        tuple(columns),
        rows,
        [
            f"Each row is {looks} askings. Captures come in by {BATCH} in a transaction, with text search. Pages are",
            "asked for over HTTP from `diag serve` (gunicorn, 8 threads); the others in one process, without HTTP.",
            *more,
        ],
    )
