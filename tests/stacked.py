"""A capture of stacks for pages: a deadlock, a pool, tasks, two looks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import deaths
from moments import next_moment

from diag.model import Artifact, Capture, new_capture_id, stamp


def _frame(function: str, file: str, in_app: bool) -> dict[str, Any]:
    return {"function": function, "file": file, "line": 58, "language": "python", "inApp": in_app}


LONG = "a_name_that_does_not_fit_into_any_column_" * 4
STACKS = [
    [_frame("reserve", "/srv/shop/stock.py", True), _frame("run", "/usr/lib/python3.11/threading.py", False)],
    [_frame(LONG, f"/srv/{LONG}.py", True)],
    [_frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", False)],
]


def document() -> dict[str, Any]:
    """The document, as `diag stacks -n 2` writes it."""
    threads = [_waiting(4719, "billing", 4720, "a"), _waiting(4720, "stock", 4719, "b")]
    threads += [_thread(number, f"pool-{number}", 1) for number in range(5000, 5040)]
    request = {"method": "GET", "path": "/slow", "request_id": "req-17", "trace_id": None, "age_s": 3.2}
    threads[2]["requests"] = [request]
    looks = [_look(0, threads), _look(1, [*threads[:2], {**threads[2], "stack": 0}, *threads[3:]])]
    said = {"kind": "thread", "what": "waits for RLock 0x7f", "where": "reserve", "proof": "its owner says so"}
    members = [{**said, "id": 4719, "name": "billing (4719)"}, {**said, "id": 4720, "name": "stock (4720)"}]
    sentence = "Deadlock: billing (4719) and stock (4720) wait for each other."
    return {
        "schema": "diag.stacks/1",
        "engine": "py-spy 0.4.3",
        "runtime": "python 3.11.7",
        "verdict": {"cause": "deadlock", "sentence": sentence, "confidence": "high", "evidence": ["so"]},
        "deadlocks": [{"sentence": sentence, "members": members, "waiting": []}],
        "looks": looks,
        "stacks": STACKS,
    }


def made(data: bytes | None = None) -> deaths.Made:
    """The capture, with these bytes as its document."""
    data = json.dumps(document()).encode() if data is None else data
    checksum = hashlib.sha256(data).hexdigest()
    artifact = Artifact("stacks.json", "stacks", "diag-stacks", "application/json", len(data), checksum)
    moment, about = next_moment(), "stacks: deadlock: billing (4719) and stock (4720) wait for each other"
    who = deaths.instance()
    capture = Capture(new_capture_id(moment), "stacks", "api", stamp(moment), who, about, artifacts=(artifact,))
    return deaths.Made(capture, {artifact.name: data})


def _thread(number: int, name: str, stack: int) -> dict[str, Any]:
    wait = {"kind": "lock", "what": "waits on a futex", "timed": False}
    return {"threadId": number, "name": name, "holdsGil": False, "state": "idle", "stack": stack, "waiting": wait}


def _waiting(number: int, name: str, holder: int, lock: str) -> dict[str, Any]:
    wait = {"kind": "lock", "what": f"waits for RLock 0x7f{lock}", "timed": False, "heldBy": holder, "proof": "so"}
    return {**_thread(number, name, 0), "waiting": wait}


def _look(number: int, threads: list[dict[str, Any]]) -> dict[str, Any]:
    tasks = [_task("0x1", "serve <script>alert(1)</script>"), _task("0x2", LONG, "0x1"), _task("0x3", "leaf", "0x2")]
    loop = {"loopId": "0x9", "type": "asyncio.Loop", "threadId": 4711, "running": True, "ready": 0, "timers": 2}
    process = {"pid": 4711, "runtime": "python 3.11.7", "command": ["gunicorn", "app:app"], "workingDirectory": "/srv"}
    loops = [{**loop, "overdueSeconds": 4.2, "tasks": tasks}]
    seen = {**process, "threads": threads, "asyncio": {"loops": loops}}
    return {"time": f"2026-03-04T05:06:0{number}.000+00:00", "processes": [seen]}


def _task(number: str, name: str, *above: str) -> dict[str, Any]:
    wait = {"kind": "await", "what": "awaits asyncio.sleep", "timed": False}
    words = {"taskId": number, "name": name, "coroutine": "f", "state": "waiting", "awaits": [], "awaitsAlone": False}
    return {**words, "awaitedBy": list(above), "waiting": wait, "stack": 2}
