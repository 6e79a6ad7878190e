"""Evidence as the agent makes it, with one field or another changed by a test."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reports import validate

from diag.evidence import (
    Ended,
    Evidence,
    ExceptionSeen,
    Fault,
    Frame,
    Mapped,
    ProcessFacts,
    Request,
    Thread,
    Witness,
)
from diag.model import Cost, Instance, Link, Missing, new_capture_id
from diag.redact import Redactor
from diag.report.assemble import assemble
from diag.report.host import Host

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 891000, UTC)
PID = 4711
APP = "/srv/shop/app.py"
FLASK = "/srv/shop/venv/lib/python3.11/site-packages/flask/app.py"
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
HOST = Host("Linux", "6.1.0", "#1 SMP", "x86_64", 16 << 30, 8 << 30)
LIMITS: Mapping[str, tuple[int | None, int | None]] = {
    "Max cpu time": (None, None),
    "Max core file size": (0, None),
    "Max open files": (1024, 20000),
    "Max file locks": (None, None),
}


def made(seen: Evidence, host: Host = HOST) -> dict[str, Any]:
    """The report of this evidence, valid."""
    return validate(assemble(seen, Redactor(), host=host))


def python_frame(function: str, line: int = 20, file: str = APP, **more: Any) -> Frame:
    """A Python frame of the application, unless the file says otherwise."""
    module = more.pop("module", "app" if file == APP else "flask.app")
    return Frame(function, file=file, line=line, module=module, **more)


def native(function: str, module: str = LIBC, address: int | None = None) -> Frame:
    """A native frame."""
    return Frame(function, module=module, language="native", address=address)


WAITING = python_frame("wait", 320, "/usr/lib/python3.11/threading.py")


def stack(view: str = "view", line: int = 20) -> tuple[Frame, ...]:
    """A Flask application's Python frames, innermost first."""
    return (
        python_frame(view, line),
        python_frame("dispatch_request", 1800, FLASK),
        python_frame("wsgi_app", 2200, FLASK),
        python_frame("<module>", 3),
    )


def request(path: str = "/checkout", thread_id: int = PID, request_id: str | None = "7f3a", **more: Any) -> Request:
    """A request that started 3.2 s before MOMENT."""
    started = more.pop("started", MOMENT - timedelta(seconds=3.2))
    return Request(
        started, thread_id, "GET", path, request_id, more.pop("trace_id", "4bf9"), more.pop("span_id", "00f0"), **more
    )


def process(**changes: Any) -> ProcessFacts:
    """/proc of a gunicorn worker."""
    facts = ProcessFacts(
        pid=PID,
        parent_pid=4700,
        start_time=MOMENT - timedelta(seconds=100),
        command=("/srv/shop/venv/bin/python", "-m", "gunicorn", "--password=hunter2", "app:app"),
        name="gunicorn",
        working_directory="/srv/shop",
        executable="/usr/bin/python3.11",
        memory={"rss": 50 << 20, "peak_rss": 60 << 20, "virtual": 200 << 20, "swap": 0, "data": 30 << 20},
        cpu_user_s=2.0,
        cpu_system_s=0.5,
        page_faults_minor=1000,
        page_faults_major=3,
        read_bytes=4096,
        write_bytes=1024,
        context_switches_voluntary=10,
        context_switches_involuntary=2,
        open_files=17,
        limits=LIMITS,
        cgroup={"version": 2, "path": "/shop", "memory": {"limit": 256 << 20, "usage": 60 << 20, "oomKills": 0}},
        environment={"PATH": "/usr/bin", "DB_PASSWORD": "hunter2", "LANG": "C.UTF-8"},
    )
    return replace(facts, **changes)


def witness(**changes: Any) -> Witness:
    """A black box with one request in flight and one finished."""
    box = Witness(
        in_flight=(request(),),
        finished=(request("/", request_id="aaaa", trace_id=None, span_id=None, duration_s=0.01, status=200),),
        events=(
            {"time": "2026-03-04T05:06:00.000+00:00", "kind": "request", "message": "ValueError: password=hunter2"},
        ),
        heap={"gcCounts": [1, 2, 3], "gcThresholds": [700, 10, 10], "gcEnabled": True, "gcStats": [{"collected": 1}]},
        runtime={"version": "3.11.7", "implementation": "CPython", "executable": "/usr/bin/python3.11"},
        requests_started=10,
        requests_finished=9,
    )
    return replace(box, **changes)


def evidence(**changes: Any) -> Evidence:
    """A live Flask worker; tests change what their case is about."""
    seen = Evidence(
        capture_id=new_capture_id(MOMENT),
        time=MOMENT,
        instance=Instance(
            "shop", "shop", "6b1c", "web-1", PID, "2026-03-04T05:04:27.000+00:00", "python 3.11.7", {"zone": "a"},
            {"pid": 4700, "start_time": "2026-03-04T05:04:20.000+00:00"},
        ),
        trigger="api",
        process=process(),
        threads=(
            Thread(PID, "MainThread", holds_gil=True, state="running", frames=stack()),
            Thread(PID + 1, "pool-1", holds_gil=False, state="idle", frames=(WAITING,)),
        ),
        witness=witness(),
        stderr_tail="Booting worker\n",
        cost=Cost(0.001, 0.002, 0.013),
    )  # fmt: skip
    return replace(seen, **changes)


def crashed(signal: int, frames: Sequence[Frame] | None = None, **changes: Any) -> Evidence:
    """A worker frozen in a fatal signal; `fault` fields are given by name."""
    own = {name: changes.pop(name) for name in ("address", "trapno", "registers", "code") if name in changes}
    fault = Fault(signal, PID, **{"trapno": 0, **own})
    top = tuple(frames if frames is not None else (native("__strlen_avx2"), *stack("crash_view")))
    threads = (Thread(PID, "MainThread", True, True, "idle", top), Thread(PID + 1, "pool-1", frames=stack("other")))
    return evidence(trigger="signal", level="NATIVE", fault=fault, threads=threads, **changes)


def raised(
    kind: str = "KeyError", message: str = "'sku'", frames: Sequence[Frame] | None = None, **changes: Any
) -> Evidence:
    """A worker ended by an exception; what belongs to the exception (cause, module, …) is given by name."""
    names = ("cause", "context", "exceptions", "notes", "module")
    own = {"module": "builtins", **{name: changes.pop(name) for name in names if name in changes}}
    seen = ExceptionSeen(type=kind, message=message, frames=tuple(stack() if frames is None else frames), **own)
    return evidence(trigger="exception", level="FULL", exception=seen, links=(request().link,), **changes)


def ended(status: int | None = None, signal: int | None = None, **changes: Any) -> Evidence:
    """A process that only its parent saw end."""
    more: dict[str, Any] = {"trigger": "signal" if signal else "exit", "level": "OUTSIDE", "threads": (), **changes}
    said = "The wait status of the child."
    return evidence(ended=Ended(status, signal, evidence=(said,)), **more)


def maps_of_this_process() -> tuple[Mapped, ...]:
    """The memory map of the process that runs the tests."""
    found = []
    with open("/proc/self/maps") as lines:  # noqa: PTH123 - a file of /proc
        for line in lines:
            words = line.split(maxsplit=5)
            start, end = (int(word, 16) for word in words[0].split("-"))
            path = words[5].strip() if len(words) > 5 else ""
            found.append(Mapped(start, end, words[1], int(words[2], 16), int(words[4]), path))
    return tuple(found)


PYTHON = sys.executable
GAP = Missing("threads", "the process was gone")
LINK = Link("7f3a", "4bf9", "00f0")
