"""The document of stacks as it is shown: groups, trees, what moved; and documents from anybody."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from diag.report.stacks_reading import read
from diag.report.stacks_render import render

FRAMES = [
    [{"function": "wait", "file": "/usr/lib/python3.11/threading.py", "line": 1, "language": "python", "inApp": False}],
    [
        {"function": "b", "file": "/srv/a.py", "line": 2, "language": "python", "inApp": True},
        {"function": "a", "file": "/srv/a.py", "line": 1, "language": "python", "inApp": True},
    ],
    [
        {"function": "b", "file": "/srv/a.py", "line": 3, "language": "python", "inApp": True},
        {"function": "a", "file": "/srv/a.py", "line": 1, "language": "python", "inApp": True},
    ],
    [
        {"function": "c", "file": "/srv/a.py", "line": 9, "language": "python", "inApp": True},
        {"function": "a", "file": "/srv/a.py", "line": 1, "language": "python", "inApp": True},
    ],
]


def thread(number: int, stack: int, what: str = "", **more: Any) -> dict[str, Any]:
    """A thread of the document."""
    wait = {"waiting": {"kind": "lock", "what": what, "timed": False}} if what else {}
    state = "idle" if what else "active"
    return {
        "threadId": number,
        "name": f"w-{number}",
        "holdsGil": False,
        "state": state,
        "stack": stack,
        **wait,
        **more,
    }


def document(*looks: list[dict[str, Any]], tasks: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A document with one process."""
    loop = {"loopId": "0x1", "type": "asyncio.Loop", "threadId": 1, "running": True, "ready": 0, "timers": 0}
    loops = [{**loop, "overdueSeconds": 4.2, "tasks": list(tasks)}] if tasks else []
    process = {"pid": 1, "runtime": "python 3.11.7", "command": ["python", "a.py"], "workingDirectory": "/srv"}
    shown = [
        {
            "time": f"2026-03-04T05:06:0{number}.000+00:00",
            "processes": [{**process, "threads": threads, "asyncio": {"loops": loops}}],
        }
        for number, threads in enumerate(looks)
    ]
    verdict = {"cause": "alive", "sentence": "2 threads.", "confidence": "high", "evidence": []}
    head = {"schema": "diag.stacks/1", "engine": "py-spy 0.4.3", "runtime": "python 3.11.7"}
    return {**head, "verdict": verdict, "deadlocks": [], "looks": shown, "stacks": copy.deepcopy(FRAMES)}


def task(name: str, *above: str) -> dict[str, Any]:
    """A task that these await."""
    words = {"taskId": name, "name": name, "coroutine": name, "state": "waiting", "awaits": [], "awaitsAlone": False}
    wait = {"kind": "await", "what": "awaits asyncio.sleep", "timed": False}
    return {**words, "awaitedBy": list(above), "waiting": wait, "stack": 1}


def test_who_runs_stands_first_and_equal_ones_together() -> None:
    """The number of a lock does not part threads that do the same."""
    idle = [thread(number, 0, f"waits for Lock {number:#x}") for number in range(2, 502)]

    (process,) = read(document([*idle, thread(1, 1)])).processes

    assert [(group.first.name, len(group.rows)) for group in process.groups] == [("w-1", 1), ("w-2", 500)]
    assert process.groups[1].words == "waits for Lock"


def test_what_moved() -> None:
    """Other lines, other calls, threads that came and went; the others had the same stack."""
    found = read(
        document(
            [thread(1, 1), thread(2, 1), thread(3, 0, "waits"), thread(4, 0, "waits")],
            [thread(1, 2), thread(2, 3), thread(3, 0, "waits"), thread(5, 0, "waits")],
        )
    )

    words = {moves.row.name: moves.words for moves in found.processes[0].moves}
    assert words == {
        "w-1": "same calls, other lines",
        "w-2": "moved",
        "w-3": "same stack in all 2",
        "w-4": "ended",
        "w-5": "began",
    }
    text = render(found, color=False, width=80)
    assert "2 LOOKS  in 1.0 s" in text
    assert "b:2 → c:9" in text


def test_tasks_are_a_tree() -> None:
    """Each one stands once, also where they await each other."""
    tasks = (task("a"), task("b", "a"), task("c", "b", "a"), task("x", "y"), task("y", "x"))

    (loop,) = read(document([thread(1, 1)], tasks=tasks)).processes[0].loops

    assert [(branch.row.name, branch.depth) for branch in loop.branches] == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
        ("x", 0),
        ("y", 1),
    ]
    assert "has not turned for 4.2 s" in loop.words


def test_a_terminal_is_not_obeyed() -> None:
    """Names are whatever a program chose."""
    hostile = thread(1, 1, "waits for \x1b[31m", requests=[{"path": "/\x1b]0;x\x07", "age_s": 1.0}])
    found = document([{**hostile, "name": "a\x1b[2Jb"}])
    found["stacks"][1][0]["function"] = "\x1b[1mf"
    found["stacks"][1][0]["locals"] = {"\x1bn": "\x1bv"}

    assert "\x1b" not in render(read(found), color=False, width=80, everything=True)


@given(st.data())
def test_any_document_is_shown_or_refused(data: st.DataObject) -> None:
    """With anything in the place of any part of it, it is read or a ValueError; nothing else."""
    found = document([thread(1, 1, "waits")], [thread(1, 0)], tasks=(task("a"), task("b", "a")))
    place: Any = found
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(st.sampled_from([None, 7, -1, 1e400, "x", [], {}, [None], [[1]], {"a": 1}, True]))

    try:
        view = read(json.loads(json.dumps(found)))
    except ValueError:
        return
    render(view, color=False, width=80, everything=True)
