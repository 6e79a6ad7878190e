"""The document of a capture of stacks as pages show it: typed and bounded, equal stacks in groups, with what moved.

It may come from anybody: whatever does not have the right type raises a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diag.model import parse_stamp
from diag.report.stacks_groups import alike, groups, moves, tree
from diag.report.stacks_view import Json, Loop, Member, Process, Ring, Row, Serving, StacksView
from diag.report.standing import doing

TEXT_LIMIT = 2000
PROCESSES_LIMIT, THREADS_LIMIT, TASKS_LIMIT, FRAMES_LIMIT = 200, 2000, 2000, 400
LOOKS_LIMIT, LOOPS_LIMIT = 100, 50
OVERDUE_S = 0.1  # a loop that turns is this late at times


def read(document: Any) -> StacksView:
    """The view of a document. Raises ValueError where it is none."""
    if not isinstance(document, Mapping) or not str(document.get("schema", "")).startswith("diag.stacks/"):
        raise ValueError("it is no document of stacks")
    looks = _maps(document.get("looks"))[:LOOKS_LIMIT]
    verdict = _map(document.get("verdict"))
    stacks = tuple(_frames(stack) for stack in _list(document.get("stacks")))
    times = tuple(_text(look.get("time")) for look in looks)
    return StacksView(
        engine=_text(document.get("engine")),
        runtime=_text(document.get("runtime")),
        sentence=_text(verdict.get("sentence")),
        cause=_text(verdict.get("cause")),
        confidence=_text(verdict.get("confidence")),
        evidence=tuple(_text(one) for one in _list(verdict.get("evidence"))[:100]),
        rings=tuple(_ring(one) for one in _maps(document.get("deadlocks"))[:50]),
        times=times,
        processes=tuple(_processes(looks, stacks)) if looks else (),
        seconds=(parse_stamp(times[-1]) - parse_stamp(times[0])).total_seconds() if times else 0.0,
        stacks=stacks,
    )


def _processes(looks: Sequence[Json], stacks: Sequence[Sequence[Json]]) -> Iterator[Process]:
    each = [{_text(one.get("pid")): one for one in _maps(look.get("processes"))[:PROCESSES_LIMIT]} for look in looks]
    for pid in dict.fromkeys(pid for look in each for pid in look):
        seen = [look.get(pid) for look in each]
        yield _process(pid, seen, stacks)


def _process(pid: str, seen: Sequence[Json | None], stacks: Sequence[Sequence[Json]]) -> Process:
    last = next(one for one in reversed(seen) if one is not None)
    names = _names(last)
    rows = [
        [_thread(thread, names, stacks) for thread in _maps(one.get("threads"))[:THREADS_LIMIT]] if one else []
        for one in seen
    ]
    same = alike(stacks)
    at_last = rows[max(number for number, one in enumerate(seen) if one is not None)]
    return Process(
        pid=pid,
        command=" ".join(_text(word) for word in _list(last.get("command"))[:50]),
        working_directory=_text(last.get("workingDirectory")),
        threads=len(at_last),
        unit="goroutine" if at_last and all(row.name.startswith("goroutine ") for row in at_last) else "thread",
        groups=groups(at_last, same, pid),
        loops=tuple(_loop(loop, names, stacks) for loop in _maps(_map(last.get("asyncio")).get("loops"))[:LOOPS_LIMIT]),
        moves=tuple(moves(rows, same, stacks)) if len(seen) > 1 else (),
    )


def loops_of(report: Json) -> tuple[tuple[Loop, ...], tuple[tuple[Json, ...], ...]]:
    """The event loops of a report, and the stacks that the numbers of their tasks lead to. Raises ValueError."""
    stacks: list[tuple[Json, ...]] = []
    loops = []
    for loop in _maps(_map(report.get("asyncio")).get("loops"))[:LOOPS_LIMIT]:
        tasks = _maps(loop.get("tasks"))[:TASKS_LIMIT]
        numbered = [{**task, "stack": len(stacks) + number} for number, task in enumerate(tasks)]
        stacks += [_frames(task.get("frames")) for task in tasks]
        loops.append({**loop, "tasks": numbered})
    names = _names(report)
    return tuple(_loop(loop, names, stacks) for loop in loops), tuple(stacks)


def _names(process: Json) -> dict[str, str]:
    """What to call a thread or a task by its id."""
    found = {}
    for thread in _maps(process.get("threads")):
        id_, name = _text(thread.get("threadId")), _text(thread.get("name"))
        found[id_] = f"{name} ({id_})" if name else f"thread {id_}"
    for loop in _maps(_map(process.get("asyncio")).get("loops")):
        for task in _maps(loop.get("tasks")):
            found[_text(task.get("taskId"))] = _text(task.get("name"))
    return found


def _thread(thread: Json, names: Mapping[str, str], stacks: Sequence[Sequence[Json]]) -> Row:
    return _row(thread, _text(thread.get("threadId")), names, stacks)


def _row(holder: Json, id_: str, names: Mapping[str, str], stacks: Sequence[Sequence[Json]]) -> Row:
    wait = _map(holder.get("waiting"))
    state, held_by = _text(holder.get("state")), _text(wait.get("heldBy"))
    return Row(
        id=id_,
        name=_text(holder.get("name")),
        words=_state(doing(holder)),
        running=not wait and state in ("active", "running", "ready", "runnable"),
        holds_gil=holder.get("holdsGil") is True,
        held_by=names.get(held_by, held_by),
        proof=_text(wait.get("proof")),
        requests=tuple(_serving(one) for one in _maps(holder.get("requests"))[:20]),
        stack=_whole(holder.get("stack"), len(stacks)),
        cut=_whole(holder.get("framesCut", 0), 1 << 30),
        awaits=tuple(names.get(_text(one), "") for one in _list(holder.get("awaits"))[:50]),
        awaited_by=tuple(names.get(_text(one), "") for one in _list(holder.get("awaitedBy"))[:50]),
    )


def _serving(one: Json) -> Serving:
    return Serving(
        method=_text(one.get("method")),
        path=_text(one.get("path")),
        request_id=_text(one.get("request_id")),
        trace_id=_text(one.get("trace_id")),
        age_s=_number(one.get("age_s")),
    )


def _state(state: str) -> str:
    return {"active": "running", "idle": "waits"}.get(state, state)


def _loop(loop: Json, names: Mapping[str, str], stacks: Sequence[Sequence[Json]]) -> Loop:
    tasks = _maps(loop.get("tasks"))[:TASKS_LIMIT]
    thread = _text(loop.get("threadId"))
    words = [_text(loop.get("type"))]
    words.append(f"on {names.get(thread, f'thread {thread}')}" if thread else "not running")
    for key, name in (("ready", "ready"), ("timers", "timers")):
        if isinstance(loop.get(key), int):
            words.append(f"{loop[key]} {name}")
    overdue = _number(loop.get("overdueSeconds", 0))
    if overdue >= OVERDUE_S:
        words.append(f"has not turned for {overdue:.1f} s")
    rows = {_text(task.get("taskId")): _row(task, _text(task.get("taskId")), names, stacks) for task in tasks}
    parents = {
        _text(task.get("taskId")): [p for p in map(_text, _list(task.get("awaitedBy"))) if p in rows] for task in tasks
    }
    return Loop(", ".join(words), len(tasks), tuple(tree(rows, parents)), _whole(loop.get("tasksCut", 0), 1 << 30))


def _frames(stack: Any) -> tuple[Json, ...]:
    return tuple(_frame(one) for one in _maps(stack)[:FRAMES_LIMIT])


def _frame(one: Json) -> Json:
    """The frame with the keys that every page relies on; `locals`, `address` and `buildId` where it has them."""
    kept: dict[str, Any] = {
        "function": _text(one.get("function")) or "?",
        "file": _text(one.get("file")) or None,
        "line": None if one.get("line") is None else _whole(one["line"], 1 << 40),
        "module": _text(one.get("module")) or None,
        "language": _text(one.get("language")) or "python",
        "inApp": one.get("inApp") is True,
    }
    if one.get("locals"):
        kept["locals"] = {_text(name): _text(value) for name, value in _map(one["locals"]).items()}
    return kept | {key: _text(one[key]) for key in ("address", "buildId") if key in one}


def _ring(one: Json) -> Ring:
    members = tuple(
        Member(*(_text(member.get(key)) for key in ("name", "what", "where", "proof")))
        for member in _maps(one.get("members"))[:100]
    )
    waiting = tuple(_text(member.get("name")) for member in _maps(one.get("waiting"))[:100])
    return Ring(_text(one.get("sentence")), members, waiting)


def _map(value: Any) -> Json:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("an object is missing in it")
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("a list is missing in it")
    return value


def _maps(value: Any) -> list[Json]:
    return [_map(item) for item in _list(value)]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)[:TEXT_LIMIT]
    raise ValueError("a text is missing in it")


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not abs(value) < 1e12:
        raise ValueError("a number is missing in it")
    return float(value)


def _whole(value: Any, below: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
        raise ValueError(f"{value!r} is no number of anything in it")
    return value
