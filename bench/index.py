"""The viewer's index at a million captures: how fast they come in, and how long look-ups and pages take."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diag_server.index import counts, notes, read, write
from diag_server.index.opening import open_engine
from diag_server.index.rows import Entry, Filter
from diag_server.index.upkeep import learn
from measure import DIAG, HERE, Table, at_most, scratch, started
from sqlalchemy import Engine

from diag.model import Artifact, Capture, Cost, Instance, Link, new_capture_id, now, stamp
from diag.upload import keys

SERVICES, PER_SERVICE, FINGERPRINTS, DAYS = 200, 20, 5_000, 30
BATCH = 500
BUDGET_MS = 100
TEXTS = ("rare", "common", "part of a name", "none")


@dataclass
class Sample:
    """What was put in, to ask for."""

    manifests: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)


def measure(*, quick: bool) -> list[Table]:
    """Two tables, with a column for each database."""
    captures, looks = (50_000, 40) if quick else (1_000_000, 200)
    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        databases: dict[str, Callable[[], str]] = {"SQLite": lambda: ""}
        server = _postgres(stack)
        if server:
            databases["PostgreSQL"] = server.database
        for name, database in databases.items():
            with scratch() as environment:
                url = database() or f"{environment['HOME']}/index.sqlite"
                results[name] = _measure_one(url, environment, captures, looks)
    notes_below = [] if server else ["PostgreSQL is not installed."]
    return [_table(results, captures, looks, notes_below)]


def _measure_one(url: str, environment: dict[str, str], captures: int, looks: int) -> dict[str, Any]:
    store = Path(environment["HOME"]) / "store"
    store.mkdir()
    engine = open_engine(url, f"{store.as_uri()} default")
    try:
        sample, rate = _fill(engine, captures)
        learn(engine)
        times = {name: _timed(ask, looks) for name, ask in _questions(engine, sample).items()}
        for capture_id, manifest in sample.manifests.items():  # those whose pages are asked for
            path = store / keys.key("default", capture_id, keys.MANIFEST)
            path.parent.mkdir(parents=True)
            path.write_text(manifest)
        # The others are not in the store: nothing may be looked for there, or they would be taken for gone.
        notes.set_walk(engine, None)
        for name in (notes.WALKED, notes.SWEPT):
            notes.set_done(engine, name, time.time())
        with _viewer(url, store, environment) as address:
            for name, path in _pages(sample).items():
                times[name] = _timed(lambda path=path: _get(address + path()), looks)  # type: ignore[misc]
        return {"rate": rate, "times": times}
    finally:
        engine.dispose()


def _fill(engine: Engine, captures: int) -> tuple[Sample, float]:
    chance, sample = random.Random(7), Sample()
    took, end = 0.0, now()
    for start in range(0, captures, BATCH):
        some = min(BATCH, captures - start)
        moments = [end - timedelta(days=DAYS) * (1 - (start + n) / captures) for n in range(some)]
        entries = [_entry(chance, moment) for moment in moments]
        began = time.perf_counter()
        write.add(engine, entries)
        took += time.perf_counter() - began
        chosen = chance.choice(entries)
        one = chosen.capture
        sample.manifests[one.capture_id] = chosen.manifest
        sample.requests.append(str(one.links[0].request_id))
        sample.traces.append(str(one.links[0].trace_id))
        sample.fingerprints.append(str(one.fingerprint))
        sample.instances.append(one.instance.instance_id)
    return sample, captures / took


def _entry(chance: random.Random, moment: datetime) -> Entry:
    service = min(int(chance.paretovariate(0.6)) - 1, SERVICES - 1)
    group = min(int(chance.paretovariate(0.5)) - 1, FINGERPRINTS - 1)
    pod = f"shop-{service}-{chance.randrange(PER_SERVICE)}"
    kind = chance.choices(("crash", "event", "report"), (70, 20, 10))[0]
    instance = Instance(
        service=f"shop-{service}",
        name=pod,
        instance_id=f"{pod}-{moment:%d}-7d9f",
        host=f"node-{chance.randrange(100)}",
        pid=chance.randrange(100, 30_000),
        start_time=stamp(moment - timedelta(hours=chance.randrange(1, 24))),
        runtime="python 3.11.7",
    )
    request, trace = f"req-{chance.randrange(2**40):010x}", f"{chance.randrange(2**128):032x}"
    title = f"CheckoutFailed in price_of_{group}"
    report = Artifact("report.json", "report", "diag-report", "application/json", 40_000, "0" * 64)
    capture = Capture(
        capture_id=new_capture_id(moment),
        kind=kind,
        trigger="exception",
        time=stamp(moment),
        instance=instance,
        title=title,
        level="FULL" if kind == "crash" else "EVENT" if kind == "event" else None,
        links=(Link(request, trace, f"{chance.randrange(2**64):016x}"),),
        fingerprint=f"1:{group:04d}{group * 2654435761 % 2**48:012x}",
        verdict={"cause": "exception", "sentence": f"{title}: no price for sku-{chance.randrange(10_000)}"},
        artifacts=(report,),
        cost=Cost(0.01, 0.02, 0.05),
    )
    frames = [{"function": f"price_of_{group}", "file": f"/srv/shop/app_{group % 97}.py", "line": 42, "inApp": True}]
    frames += [{"function": f"step_{n}", "file": f"/srv/shop/lib_{n}.py", "line": n, "inApp": False} for n in range(9)]
    words = [title, request, trace, pod, instance.host, instance.instance_id, capture.capture_id]
    words += [f"{frame['function']}\n{frame['file']}" for frame in frames]
    return Entry(capture, json.dumps(capture.to_json()), "\n".join(words), tuple(frames))


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


def _postgres(stack: ExitStack) -> Any:
    """The tests' own PostgreSQL, writing to the disk as one does; None where none is installed."""
    sys.path.append(str(HERE.parent / "tests"))
    import pytest
    from postgres import serving_postgres

    try:
        return stack.enter_context(serving_postgres("shared_buffers=512MB", "max_wal_size=4GB"))
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
