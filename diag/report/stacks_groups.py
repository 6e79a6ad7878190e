"""Rows of stacks in order: equal ones in groups, tasks as a tree, and what moved from look to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diag.report.stacks_view import Branch, Group, Json, Moves, Row


def alike(stacks: Sequence[Sequence[Json]]) -> list[int]:
    """For each stack the number of the first one with the same calls and lines: local variables may differ."""
    first: dict[Any, int] = {}
    keys = (tuple((one.get("function"), one.get("file"), one.get("line")) for one in stack) for stack in stacks)
    return [first.setdefault(key, number) for number, key in enumerate(keys)]


def groups(rows: Sequence[Row], same: Sequence[int], pid: str) -> tuple[Group, ...]:
    """Threads with one stack and one kind of wait; who runs first, who waits for whom, who serves, then the others."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault((same[row.stack], _kind(row), row.holds_gil), []).append(row)
    groups = [Group(tuple(members), _kind(members[0])) for members in found.values()]
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                not group.first.holds_gil,
                not group.first.running,
                not group.first.held_by,
                not any(row.requests for row in group.rows),
                all(row.id != pid for row in group.rows),
                len(group.rows),
            ),
        )
    )


def _kind(row: Row) -> str:
    """The words without the number of a lock or a descriptor, which differ among threads that do the same."""
    head, _, number = row.words.rpartition(" ")
    return head if number.startswith("0x") and not row.held_by else row.words


def tree(rows: Mapping[str, Row], parents: Mapping[str, list[str]]) -> Iterator[Branch]:
    """Each task once, below the first that awaits it; tasks that await each other begin where the ring is entered."""
    children: dict[str, list[str]] = {}
    for task, above in parents.items():
        if above:
            children.setdefault(above[0], []).append(task)
    shown: set[str] = set()
    for start in (*(task for task, above in parents.items() if not above), *parents):
        todo = [(start, 0)]
        while todo:
            task, depth = todo.pop()
            if task not in shown:
                shown.add(task)
                yield Branch(rows[task], depth)
                todo += [(child, depth + 1) for child in reversed(children.get(task, ()))]


def moves(looks: Sequence[Sequence[Row]], same: Sequence[int], stacks: Sequence[Sequence[Json]]) -> Iterator[Moves]:
    """A row for each thread; those that moved come first."""
    by_id = [{row.id: row for row in look} for look in looks]
    found = []
    for id_ in dict.fromkeys(id_ for look in by_id for id_ in look):
        rows = [look.get(id_) for look in by_id]
        last = next(row for row in reversed(rows) if row is not None)
        numbers = tuple(None if row is None else same[row.stack] for row in rows)
        still = None not in numbers and len(set(numbers)) == 1
        found.append(Moves(last, numbers, _moved(numbers, stacks), still))
    yield from sorted(found, key=lambda moves: moves.still)


def _moved(numbers: Sequence[int | None], stacks: Sequence[Sequence[Json]]) -> str:
    present = [number for number in numbers if number is not None]
    if len(present) < len(numbers):
        return (
            "began"
            if numbers[0] is None and numbers[-1] is not None
            else "ended"
            if numbers[-1] is None
            else "came and went"
        )
    if len(set(present)) == 1:
        return f"same stack in all {len(numbers)}"
    depth = min(_common(stacks[present[0]], stacks[number]) for number in present)
    if depth and all(len(stacks[number]) == depth for number in present):
        return "same calls, other lines"
    return "moved" if depth else "moved, all of it"


def _common(one: Sequence[Json], other: Sequence[Json]) -> int:
    """How many frames from the outermost are the same calls."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if (a.get("function"), a.get("file")) != (b.get("function"), b.get("file")):
            break
        count += 1
    return count
