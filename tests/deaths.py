"""Deaths as agents record them: real reports assembled from evidence, for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from moments import next_moment

from diag.evidence import (
    Ended,
    Evidence,
    ExceptionSeen,
    Fault,
    Frame,
    HangSeen,
    LastLook,
    ProcessFacts,
    Ran,
    Request,
    Task,
    Thread,
    Wait,
    Witness,
)
from diag.model import Artifact, Capture, Cost, Instance, Link, Missing, new_capture_id, stamp
from diag.redact import Redactor
from diag.report.assemble import assemble, file_name
from diag.report.title import title
from diag.upload import keys

APP = "/srv/shop/app.py"
SITE = "/srv/venv/lib/python3.11/site-packages"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PID = 4711
MIB = 2**20

# Innermost first, as everywhere: what Flask under gunicorn looks like from a view.
SERVER = (
    Frame("dispatch_request", f"{SITE}/flask/app.py", 902, "flask.app"),
    Frame("full_dispatch_request", f"{SITE}/flask/app.py", 917, "flask.app"),
    Frame("wsgi_app", f"{SITE}/flask/app.py", 1511, "flask.app"),
    Frame("__call__", f"{SITE}/flask/app.py", 1536, "flask.app"),
    Frame("handle_request", f"{SITE}/gunicorn/workers/gthread.py", 418, "gunicorn.workers.gthread"),
    Frame("handle", f"{SITE}/gunicorn/workers/gthread.py", 371, "gunicorn.workers.gthread"),
    Frame("run", "/usr/lib/python3.11/concurrent/futures/thread.py", 58, "concurrent.futures.thread"),
    Frame("_worker", "/usr/lib/python3.11/concurrent/futures/thread.py", 83, "concurrent.futures.thread"),
    Frame("run", "/usr/lib/python3.11/threading.py", 982, "threading"),
    Frame("_bootstrap_inner", "/usr/lib/python3.11/threading.py", 1045, "threading"),
    Frame("_bootstrap", "/usr/lib/python3.11/threading.py", 1002, "threading"),
)
NATIVE = (
    Frame("price_of", "/srv/shop/native/price.c", 31, "/srv/shop/native/libprice.so", "native", address=0x7F0C2D4011A9),
    Frame("ffi_call_unix64", None, None, "/usr/lib/x86_64-linux-gnu/libffi.so.8", "native", address=0x7F0C2D3E2E5A),
    Frame("_ctypes_callproc", None, None, f"{SITE}/_ctypes.so", "native", address=0x7F0C2D3F9B11),
)
VIEW = (
    Frame("total", APP, 88, "app", locals={"cart": "<Cart of 3>", "currency": "'EUR'"}),
    Frame("checkout", APP, 42, "app"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """A capture and its files by name, ready to be stored."""

    capture: Capture
    files: dict[str, bytes]

    @property
    def manifest(self) -> bytes:
        """manifest.json."""
        return json.dumps(self.capture.to_json()).encode()

    @property
    def id(self) -> str:
        """The capture's id."""
        return self.capture.capture_id

    def key(self, name: str = keys.MANIFEST, tenant: str = "default") -> str:
        """The key of one of its objects."""
        return keys.key(tenant, self.id, name)

    def with_manifest(self, **changes: Any) -> Made:
        """The same with a changed capture."""
        return replace(self, capture=replace(self.capture, **changes))


def instance(name: str = "shop", pid: int = PID, **changes: Any) -> Instance:
    """An instance that runs the shop."""
    usual = Instance(
        service="shop",
        name=name,
        instance_id=f"{name}-7d9f",
        host="web-1",
        pid=pid,
        start_time="2025-03-01T08:00:00.000+00:00",
        runtime="python 3.11.7",
        labels={"zone": "b"},
        parent={"pid": PID - 1, "start_time": "2025-03-01T07:59:59.000+00:00"},
    )
    return replace(usual, **changes)


def segfault(request: str = "req-checkout-1", at: datetime | None = None, **changes: Any) -> Evidence:
    """A NULL read in C code below a view, in one of three threads, with a request in flight."""
    moment = at or next_moment()
    crashed = Thread(PID + 2, "ThreadPoolExecutor-0_0", True, True, "running", NATIVE + VIEW + SERVER)
    idle = Thread(
        PID, "MainThread", state="sleeping", frames=(Frame("select", "/usr/lib/python3.11/selectors.py", 468),)
    )
    other = replace(crashed, thread_id=PID + 3, name="ThreadPoolExecutor-0_1", crashed=False, holds_gil=False)
    registers = {"rip": 0x7F0C2D4011A9, "rsp": 0x7F0C2AFFE980, "rax": 0, "rbx": 0x55D0, "rcx": 3, "rdx": 0x7F0C2AFFE9A0}
    return _evidence(
        moment,
        request,
        trigger="signal",
        level="NATIVE",
        threads=(crashed, idle, other),
        fault=Fault(11, PID + 2, 1, 0, 14, registers),
        ended=Ended(signal=11, evidence=("wait status of the child: signal 11",)),
        cost=Cost(0.081, 0.12, 0.09),
        **changes,
    )


def exception(
    request: str = "req-cart-2", at: datetime | None = None, message: str = "'sku-77'", **changes: Any
) -> Evidence:
    """An exception with a cause that ends the process."""
    cause = ExceptionSeen("KeyError", "builtins", message, (Frame("price", APP, 61, "app"), *VIEW[1:]))
    top = ExceptionSeen("CheckoutFailed", "app", f"no price for {message}", (*VIEW, *SERVER), cause=cause)
    return _evidence(
        at or next_moment(),
        request,
        trigger="exception",
        level="FULL",
        threads=(Thread(PID, "MainThread", frames=(*VIEW, *SERVER)),),
        exception=top,
        ended=Ended(status=1, evidence=("wait status of the child: exit status 1",)),
        **changes,
    )


def killed(at: datetime | None = None, **changes: Any) -> Evidence:
    """SIGKILL: seen from outside only."""
    return _evidence(
        at or next_moment(),
        "req-slow-3",
        trigger="signal",
        level="OUTSIDE",
        ended=Ended(signal=9, evidence=("wait status of the child: signal 9",)),
        incomplete=(Missing("threads", "the process was gone before it could be read"),),
        stderr_tail=None,
        **changes,
    )


def out_of_memory(at: datetime | None = None, **changes: Any) -> Evidence:
    """An OOM kill, two seconds after a last look at what the shop held."""
    moment = at or next_moment()
    look = LastLook(
        moment - timedelta(seconds=2),
        480 * MIB,
        512 * MIB,
        samples=((moment - timedelta(seconds=62), 120 * MIB), (moment - timedelta(seconds=2), 480 * MIB)),
        mappings=({"kind": "heap", "name": "[heap]", "rss": 401 * MIB, "mappings": 1},),
        types=({"name": "shop.carts.Cart", "count": 120_000, "bytes": 333 * MIB},),
    )
    threads = (Thread(PID, "MainThread", frames=(*VIEW, *SERVER)),)
    return replace(killed(moment, **changes), trigger="oom", last_look=look, threads=threads, incomplete=())


def hung(at: datetime | None = None, **changes: Any) -> Evidence:
    """A request that stands where it stood a second before."""
    moment = at or next_moment()
    thread = Thread(
        PID + 2, "gunicorn-1", state="idle", frames=(*VIEW, *SERVER), waiting=Wait("sleep", "sleeps", timed=True)
    )
    base = _evidence(
        moment, "req-hang-5", trigger="hang", level="EVENT", threads=(thread,), stderr_tail=None, **changes
    )
    looks = (replace(base, time=moment - timedelta(seconds=1)), base)
    requests = base.witness.in_flight if base.witness else ()
    seen = HangSeen("request", 24.0, 24.0, looks=looks, requests=requests, ran={PID + 2: Ran()}, timeout_s=30.0)
    return replace(base, hang=seen)


def live(at: datetime | None = None, **changes: Any) -> Evidence:
    """A report of a process that lives on."""
    threads = (Thread(PID, "MainThread", state="sleeping", frames=(*VIEW, *SERVER)),)
    return _evidence(at or next_moment(), "req-live-4", trigger="api", threads=threads, stderr_tail=None, **changes)


def stopped(at: datetime | None = None, **changes: Any) -> Evidence:
    """SIGTERM: an event, no crash."""
    ended = Ended(signal=15, evidence=("wait status of the child: signal 15",))
    return _evidence(at or next_moment(), None, trigger="signal", level="EVENT", ended=ended, **changes)


def made(evidence: Evidence) -> Made:
    """The capture of this evidence, its report assembled by the real thing."""
    report = assemble(evidence, Redactor())
    data = json.dumps(report).encode()
    name = file_name(evidence)
    artifact = Artifact(name, "report", "diag-report", "application/json", len(data), hashlib.sha256(data).hexdigest())
    kind = {"api": "report"}.get(evidence.trigger, "event" if evidence.level == "EVENT" else "crash")
    capture = Capture(
        capture_id=evidence.capture_id,
        kind=kind,
        trigger=evidence.trigger,
        time=stamp(evidence.time),
        instance=evidence.instance,
        title=title(report),
        level=evidence.level,
        links=evidence.links,
        fingerprint=report["fingerprint"],
        verdict=report["verdict"],
        artifacts=(artifact,),
        cost=evidence.cost,
        incomplete=tuple(Missing(**gap) for gap in report["incomplete"]),
        redactions=tuple(report["redactions"]),
    )
    return Made(capture, {name: data})


def transcript(cast: bytes) -> Made:
    """The capture of a command, with these bytes as its transcript."""
    moment = next_moment()
    artifact = Artifact(
        "transcript.cast",
        "transcript",
        "asciicast",
        "application/x-asciicast",
        len(cast),
        hashlib.sha256(cast).hexdigest(),
    )
    capture = Capture(
        new_capture_id(moment),
        "exec",
        "api",
        stamp(moment),
        instance(),
        "exec: id (exit 0, 1.2 s)",
        artifacts=(artifact,),
    )
    return Made(capture, {artifact.name: cast})


def with_report(made: Made, data: bytes) -> Made:
    """The same capture with other bytes as its report."""
    old = made.capture.artifacts[0]
    artifact = replace(old, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Made(replace(made.capture, artifacts=(artifact,)), {old.name: data})


def write(made: Made, store: Path, tenant: str = "default") -> Made:
    """Put the capture into a file store as an agent on this machine does: artifacts first, the manifest whole."""
    for name, data in {**made.files, keys.MANIFEST: made.manifest}.items():
        path = store / made.key(name, tenant)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{name}.part")
        partial.write_bytes(data)
        partial.rename(path)
    return made


def _evidence(moment: datetime, request: str | None, **changes: Any) -> Evidence:
    link = Link(request, TRACE, SPAN) if request else None
    usual: dict[str, Any] = {
        "capture_id": new_capture_id(moment),
        "time": moment,
        "instance": instance(),
        "process": _process(moment),
        "witness": _witness(moment, request),
        "links": (link,) if link else (),
        "stderr_tail": "[2025-03-01 09:00:00 +0000] [4711] [INFO] Booting worker with pid: 4711\nFatal Python error\n",
    }
    return Evidence(**{**usual, **changes})


def _process(moment: datetime) -> ProcessFacts:
    return ProcessFacts(
        pid=PID,
        parent_pid=PID - 1,
        start_time=moment - timedelta(hours=1),
        command=("gunicorn", "--workers", "2", "app:app"),
        name="gunicorn",
        working_directory="/srv/shop",
        executable="/usr/bin/python3.11",
        memory={"rss": 212 * MIB, "peak_rss": 230 * MIB, "virtual": 900 * MIB, "swap": 0, "data": 180 * MIB},
        cpu_user_s=12.5,
        cpu_system_s=1.25,
        open_files=42,
        limits={"Max open files": (1024, 524288), "Max stack size": (8 * MIB, None)},
        cgroup={"version": 2, "path": "/shop", "memory": {"limit": 512 * MIB, "usage": 300 * MIB, "peak": 310 * MIB}},
        environment={"PATH": "/usr/bin", "LANG": "C.UTF-8", "OTEL_SERVICE_NAME": "shop"},
        tasks=(Task(PID, "gunicorn", "S"),),
    )


def _witness(moment: datetime, request: str | None) -> Witness:
    flying = Request(moment - timedelta(seconds=0.12), PID + 2, "POST", "/checkout", request, TRACE, SPAN)
    done = Request(
        moment - timedelta(seconds=3),
        PID + 3,
        "GET",
        "/cart",
        "req-before",
        TRACE[::-1],
        SPAN,
        duration_s=0.02,
        status=200,
    )
    return Witness(
        in_flight=(flying,) if request else (),
        finished=(done,),
        events=({"time": stamp(moment - timedelta(seconds=9)), "kind": "exception", "message": "TimeoutError: stock"},),
        heap={"gcCounts": [12, 3, 1], "gcEnabled": True, "allocatedBlocks": 201_337},
        runtime={"version": "3.11.7", "argv": ["gunicorn", "app:app"]},
        requests_started=18,
        requests_finished=17,
    )
