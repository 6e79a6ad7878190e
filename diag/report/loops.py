"""`asyncio` of a report: event loops, and their tasks as a tree of who awaits whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.evidence import AsyncTask, EventLoop
from diag.report.stacks import Scene, frames_json
from diag.report.values import Scrub

TASKS_KEPT = 1000
_NAME_LIMIT = 512
_NAMED = 5


def loops_json(loops: tuple[EventLoop, ...], scene: Scene, scrub: Scrub) -> list[dict[str, Any]]:
    """`{loopId, type, threadId, running, ready, timers, overdueSeconds, tasks, tasksCut?}` of each loop."""
    return [_loop(loop, scene, scrub) for loop in loops]


def _loop(loop: EventLoop, scene: Scene, scrub: Scrub) -> dict[str, Any]:
    kept = sorted(loop.tasks[:TASKS_KEPT], key=lambda task: (len(task.name), task.name))
    awaited: dict[int, list[str]] = {}
    for task in loop.tasks:
        for waiter in task.awaited_by:
            awaited.setdefault(waiter, []).append(task.name)
    shown: dict[str, Any] = {
        "loopId": hex(loop.loop_id),
        "type": scrub.text(loop.kind, _NAME_LIMIT),
        "threadId": loop.thread_id,
        "running": loop.running,
        "ready": loop.ready,
        "timers": loop.timers,
        "overdueSeconds": round(loop.overdue_s, 3),
        "tasks": [_task(task, awaited, scene, scrub) for task in kept],
    }
    if len(kept) < len(loop.tasks):
        shown["tasksCut"] = len(loop.tasks) - len(kept)
    return shown


def _task(task: AsyncTask, awaited: Mapping[int, list[str]], scene: Scene, scrub: Scrub) -> dict[str, Any]:
    frames, cut = frames_json(task.frames, scene, scrub)
    shown: dict[str, Any] = {
        "taskId": hex(task.task_id),
        "name": scrub.text(task.name, _NAME_LIMIT),
        "coroutine": scrub.text(task.coroutine, _NAME_LIMIT),
        "state": task.state,
        "awaits": [hex(one) for one in task.awaits],
        "awaitsAlone": task.alone,
        "awaitedBy": [hex(one) for one in task.awaited_by],
        "frames": frames,
    }
    if cut:
        shown["framesCut"] = cut
    if task.state == "waiting":
        shown["waiting"] = _waiting(task, frames, awaited.get(task.task_id, []), scrub)
    return shown


def _waiting(task: AsyncTask, frames: list[dict[str, Any]], awaited: list[str], scrub: Scrub) -> dict[str, Any]:
    what = f"waits for {task.resource}" if task.resource else scrub.text(_awaits(frames, awaited), _NAME_LIMIT)
    shown: dict[str, Any] = {"kind": "lock" if task.resource else "await", "what": what, "timed": task.timed}
    if task.resource:
        shown["resource"] = task.resource
    if task.holder is not None:
        shown |= {"heldBy": hex(task.holder), "proof": scrub.text(task.proof, _NAME_LIMIT)}
    return shown


def _awaits(frames: list[dict[str, Any]], awaited: list[str]) -> str:
    """The tasks that it awaits, or what of a library, by the outermost frame there: `asyncio.Queue.get`."""
    if awaited:
        return f"awaits {', '.join(awaited[:_NAMED])}{', …' if len(awaited) > _NAMED else ''}"
    library = []
    for frame in frames:
        if frame["inApp"]:
            break
        library.append(frame)
    if not library:
        return "awaits a future"
    package = (library[-1]["module"] or "").partition(".")[0]
    return f"awaits {f'{package}.' if package else ''}{library[-1]['function']}"
