"""Keeps a report within its size: what costs most and tells least goes first, and the report says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

SIZE_LIMIT = 4 * 1024 * 1024
_FRAMES_LEFT = 30
_THREADS_LEFT = 50
_STDERR_LEFT = 4096
_CORE_FRAMES = 50


def fit(report: dict[str, Any], limit: int = SIZE_LIMIT) -> dict[str, Any]:
    """The report, cut step by step until its JSON is at most `limit` bytes; each cut is in `incomplete`."""
    for section, reason, cut in _CUTS:
        if _fits(report, limit):
            break
        cut(report)
        report["incomplete"].append({"section": section, "reason": f"{reason} to bound the size of the report"})
    return report


def size_of(report: dict[str, Any]) -> int:
    """The size of the report's JSON in bytes, as it is written: indented."""
    return len(json.dumps(report, indent=1))


def _fits(report: dict[str, Any], limit: int) -> bool:
    # Writing without indent is ten times as fast, and never four times as small.
    return len(json.dumps(report, separators=(",", ":"))) * 4 <= limit or size_of(report) <= limit


def _drop_other_locals(report: dict[str, Any]) -> None:
    for part in (report, *report["workers"]):
        for thread in part["threads"]:
            if not thread["crashed"]:
                for frame in thread["frames"]:
                    frame.pop("locals", None)


def _thin_workers(report: dict[str, Any]) -> None:
    for worker in report["workers"]:
        worker.update(threads=worker["threads"][:1], modules=[], sharedObjects=[], environmentVariables={}, workers=[])
        worker["timeline"].update(samples=[])
        worker["timeline"].update(samples=[])
        worker["header"].update(cpus=[], networkInterfaces=[])


def _thin_node(report: dict[str, Any]) -> None:
    if "node" in report:
        report["node"].update(javascriptHeap={}, resourceUsage={}, libuv=[])


def _shorten_stacks(report: dict[str, Any]) -> None:
    for thread in report["threads"]:
        left_out = len(thread["frames"]) - _FRAMES_LEFT
        if left_out > 0 and not thread["crashed"]:
            thread["frames"] = thread["frames"][:_FRAMES_LEFT]
            thread["framesCut"] = thread.get("framesCut", 0) + left_out


def _drop_threads(report: dict[str, Any]) -> None:
    report["threads"] = report["threads"][:_THREADS_LEFT]


def _drop_locals(report: dict[str, Any]) -> None:
    for thread in report["threads"]:
        for frame in thread["frames"]:
            frame.pop("locals", None)
    _shorten_chain(report["exception"])
    report["pythonStack"]["frames"] = [
        {key: value for key, value in frame.items() if key != "locals"} for frame in report["pythonStack"]["frames"]
    ]


def _shorten_chain(exception: dict[str, Any] | None) -> None:
    if exception is None:
        return
    for frame in exception["frames"]:
        frame.pop("locals", None)
    for key in ("cause", "context"):
        _shorten_chain(exception.get(key))
    for part in exception.get("exceptions", ()):
        _shorten_chain(part)


def _keep_the_core(report: dict[str, Any]) -> None:
    """What always fits: the verdict, the crashing thread, the top of the exception."""
    report.update(
        workers=[], modules=[], sharedObjects=[], environmentVariables={}, cgroup={}, pythonHeap={}, requests=[]
    )
    report["recent"].update(requests=[], events=[])
    report["timeline"].update(samples=[])
    report["stderrTail"] = report["stderrTail"][-_STDERR_LEFT:]
    report["threads"] = report["threads"][:1]
    for holder in (report["pythonStack"], report["exception"], *report["threads"]):
        if holder is not None:
            holder["frames"] = holder["frames"][:_CORE_FRAMES]
    report["pythonStack"]["stack"] = report["pythonStack"]["stack"][:_CORE_FRAMES]
    report["nativeStack"] = report["nativeStack"][:_CORE_FRAMES]
    report["header"]["commandLine"] = report["header"]["commandLine"][:20]
    if report["exception"] is not None:
        for key in ("cause", "context", "exceptions", "notes"):
            report["exception"].pop(key, None)


_CUTS: tuple[tuple[str, str, Callable[[dict[str, Any]], None]], ...] = (
    ("threads.locals", "locals of threads that did not crash were left out", _drop_other_locals),
    ("workers", "details of the instance's other processes were left out", _thin_workers),
    ("threads.frames", f"stacks beyond {_FRAMES_LEFT} frames were left out", _shorten_stacks),
    ("threads", f"threads beyond {_THREADS_LEFT} were left out", _drop_threads),
    ("locals", "all locals were left out", _drop_locals),
    ("node", "Node's heap spaces and handles were left out", _thin_node),
    ("report", "everything but the crashing thread and the verdict was left out", _keep_the_core),
)
