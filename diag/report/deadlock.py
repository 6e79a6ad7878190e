"""Finds threads, tasks and processes that wait for each other for ever, and nothing less than that.

Whoever waits has the set of those of whom each one could let it go on. It is stuck where all of them are stuck; whoever
waits for something that nobody is known to hold, or only for a time, is not. What is left over is proved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diag.report.causes.shape import HIGH, MEDIUM, verdict
from diag.report.reading import Json, app_frame, place

Key = tuple[str, Any]  # ("thread", tid), ("task", "0x…"), ("process", pid)
_BY_CODE = "stands inside of"  # a holder that the code names, and not the lock itself


@dataclass(frozen=True, slots=True)
class Node:
    """Somebody who waits: who could let it go on, for what it waits, and by what that is proved."""

    key: Key
    name: str
    what: str
    proof: str
    where: str
    frees: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A ring of those who wait for each other, in order, and those who wait for one of them."""

    ring: tuple[Node, ...]
    others: tuple[Node, ...] = ()

    @property
    def by_code(self) -> bool:
        """Whether a holder is known by the `with` block it stands in, and not by the lock itself."""
        return any(_BY_CODE in node.proof for node in self.ring)

    def sentence(self) -> str:
        """`Deadlock: thread a and thread b wait for each other.`"""
        names = [node.name for node in self.ring]
        if len(names) == 1:
            return f"Deadlock: {names[0]} {self.ring[0].what}, which it holds itself."
        return f"Deadlock: {', '.join(names[:-1])} and {names[-1]} wait for each other."

    def evidence(self) -> list[str]:
        """What each of the ring waits for, who has it, and how that is known."""
        found = []
        for node, after in zip(self.ring, (*self.ring[1:], self.ring[0]), strict=True):
            proof = f": {node.proof}" if node.proof else ""
            where = f" in {node.where}" if node.where else ""
            found.append(f"{node.name} {node.what}{where}, which {after.name} has to let go of{proof}.")
        if self.others:
            found.append(f"For them wait: {', '.join(node.name for node in self.others[:20])}.")
        return found

    def to_json(self) -> dict[str, Any]:
        """`{members: [{kind, id, name, what, where, proof}], waiting: [{kind, id, name}], sentence}`."""
        members = [
            {"kind": n.key[0], "id": n.key[1], "name": n.name, "what": n.what, "where": n.where, "proof": n.proof}
            for n in self.ring
        ]
        others = [{"kind": n.key[0], "id": n.key[1], "name": n.name} for n in self.others]
        return {"sentence": self.sentence(), "members": members, "waiting": others}


def deadlocks(processes: Iterable[Json]) -> list[Deadlock]:
    """Every ring among the threads, tasks and processes of these, each of which has `pid`, `threads` and `asyncio`."""
    nodes: dict[Key, Node] = {}
    for process in processes:
        nodes.update((node.key, node) for node in _nodes(process))
    stuck = dict(nodes)
    while freed := [key for key, node in stuck.items() if any(one not in stuck for one in node.frees)]:
        for key in freed:
            del stuck[key]
    rings = _rings(stuck)
    ends = {key: _end(key, stuck, rings) for key in stuck}
    found = [Deadlock(ring, tuple(_behind(number, ring, ends, stuck))) for number, ring in enumerate(rings)]
    return sorted(found, key=lambda deadlock: deadlock.by_code)


def judged(found: Sequence[Deadlock]) -> dict[str, Any] | None:
    """The verdict of a report or of stacks; None where there is no deadlock."""
    if not found:
        return None
    first, more = found[0], len(found) - 1
    sentence = first.sentence() + (f" There {'is' if more == 1 else 'are'} {more} more." if more else "")
    return verdict("deadlock", sentence, MEDIUM if first.by_code else HIGH, first.evidence())


def _nodes(process: Json) -> Iterator[Node]:
    threads = process["threads"]
    for thread in threads:
        yield from _thread(thread)
    if len(threads) == 1:  # with more than one, another can let go of a file's lock
        key = ("process", process["pid"])
        what = threads[0].get("waiting", {}).get("what", "")
        yield Node(key, f"process {key[1]}", what, "it has one thread", "", (("thread", threads[0]["threadId"]),))
    for loop in process["asyncio"].get("loops", ()):
        for task in loop["tasks"]:
            yield from _task(task)


def _thread(thread: Json) -> Iterator[Node]:
    wait = thread.get("waiting", {})
    holder = wait.get("heldBy")
    if holder is None or wait["timed"]:
        return
    if wait["kind"] == "lock" and holder == thread["threadId"] and wait["resource"].startswith("RLock"):
        return  # one that is re-entered never waits
    key = ("thread", thread["threadId"])
    frees = ("process" if wait["kind"] == "file lock" else "thread", holder)
    name = f"{thread['name']} ({thread['threadId']})" if thread["name"] else f"thread {thread['threadId']}"
    yield Node(key, name, wait["what"], wait.get("proof", ""), _where(thread), (frees,))


def _task(task: Json) -> Iterator[Node]:
    wait: Mapping[str, Any] = task.get("waiting", {})
    if not wait or wait["timed"]:
        return
    key, name = ("task", task["taskId"]), task["name"] if task["name"].startswith("Task-") else f"task {task['name']}"
    if wait.get("heldBy") is not None:
        yield Node(key, name, wait["what"], wait.get("proof", ""), _where(task), (("task", wait["heldBy"]),))
    elif task["awaitsAlone"] and task["awaits"]:
        frees = tuple(("task", one) for one in task["awaits"])
        yield Node(key, name, wait["what"], "", _where(task), frees)


def _where(holder: Json) -> str:
    frame = app_frame(holder["frames"])
    return place(frame) if frame else ""


def _rings(stuck: Mapping[Key, Node]) -> list[tuple[Node, ...]]:
    """From each node along the first of those it waits for, until the way comes back to itself."""
    found: dict[frozenset[Key], tuple[Node, ...]] = {}
    for start in stuck:
        way = [start]
        while (following := stuck[way[-1]].frees[0]) not in way:
            way.append(following)
        ring = way[way.index(following) :]
        found.setdefault(frozenset(ring), tuple(stuck[key] for key in ring))
    return list(found.values())


def _end(key: Key, stuck: Mapping[Key, Node], rings: Sequence[tuple[Node, ...]]) -> int:
    """The number of the ring that the way from here leads into."""
    members = {node.key: number for number, ring in enumerate(rings) for node in ring}
    while key not in members:
        key = stuck[key].frees[0]
    return members[key]


def _behind(number: int, ring: Sequence[Node], ends: Mapping[Key, int], stuck: Mapping[Key, Node]) -> Iterator[Node]:
    """Who waits for one of the ring, and is not of it."""
    inside = {node.key for node in ring}
    yield from (stuck[key] for key, end in ends.items() if end == number and key not in inside and key[0] != "process")
