"""A million captures as a busy site has them, put into an index; or those that an earlier run left there."""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from diag_server.index import counts, write
from diag_server.index.rows import Entry
from diag_server.index.upkeep import learn
from sqlalchemy import Engine

from diag.model import Artifact, Capture, Cost, Instance, Link, new_capture_id, now, stamp

SERVICES, PER_SERVICE, FINGERPRINTS, DAYS = 200, 20, 5_000, 30
BATCH = 500


@dataclass
class Sample:
    """What was put in, to ask for, and how many captures came in a second."""

    rate: float = 0.0
    manifests: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)


def filled(engine: Engine, captures: int, noted: Path) -> Sample:
    """Fill the index, and note the sample beside it; where it is noted already, the index is full."""
    if noted.exists():
        return Sample(**json.loads(noted.read_text()))
    if counts.total(engine):
        raise SystemExit(f"An index was begun and not filled. Remove what is in {noted.parent.parent}.")
    sample = _fill(engine, captures)
    learn(engine)
    noted.write_text(json.dumps(asdict(sample)))
    return sample


def _fill(engine: Engine, captures: int) -> Sample:
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
    sample.rate = captures / took
    return sample


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
        fingerprint=f"2:{group:04d}{group * 2654435761 % 2**48:012x}",
        verdict={"cause": "exception", "sentence": f"{title}: no price for sku-{chance.randrange(10_000)}"},
        artifacts=(report,),
        cost=Cost(0.01, 0.02, 0.05),
    )
    frames = [{"function": f"price_of_{group}", "file": f"/srv/shop/app_{group % 97}.py", "line": 42, "inApp": True}]
    frames += [{"function": f"step_{n}", "file": f"/srv/shop/lib_{n}.py", "line": n, "inApp": False} for n in range(9)]
    words = [title, request, trace, pod, instance.host, instance.instance_id, capture.capture_id]
    words += [f"{frame['function']}\n{frame['file']}" for frame in frames]
    return Entry(capture, json.dumps(capture.to_json()), "\n".join(words), tuple(frames))
