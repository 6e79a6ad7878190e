"""What pages show of a capture of stacks: rows, groups, trees of tasks, rings of a deadlock, what moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Serving:
    """A request that was under way on a thread."""

    method: str
    path: str
    request_id: str
    trace_id: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """A thread or a task at one look. `stack` is a number in the document's table; `held_by` names who has the lock."""

    id: str
    name: str
    words: str  # what it does or waits for
    running: bool
    holds_gil: bool
    held_by: str
    proof: str
    requests: tuple[Serving, ...]
    stack: int
    cut: int
    awaits: tuple[str, ...] = ()
    awaited_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Threads or tasks with the same stack that wait for the same kind of thing."""

    rows: tuple[Row, ...]
    words: str

    @property
    def first(self) -> Row:
        """One that stands for all."""
        return self.rows[0]


@dataclass(frozen=True, slots=True)
class Branch:
    """A task in the tree, and how deep below the one that awaits it."""

    row: Row
    depth: int


@dataclass(frozen=True, slots=True)
class Loop:
    """An event loop: one line about it, and its tasks as a tree."""

    words: str
    tasks: int
    branches: tuple[Branch, ...]
    cut: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process at the last look, with its threads in groups; `moves` has a row for each thread in all looks."""

    pid: str
    command: str
    working_directory: str
    threads: int
    unit: str  # "thread", or "goroutine"
    groups: tuple[Group, ...]
    loops: tuple[Loop, ...]
    moves: tuple[Moves, ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """What one thread or task did from look to look: a stack number for each, None where it was not there."""

    row: Row
    stacks: tuple[int | None, ...]
    words: str
    still: bool  # the same stack at each look


@dataclass(frozen=True, slots=True)
class Member:
    """One of those who wait for each other."""

    name: str
    what: str
    where: str
    proof: str


@dataclass(frozen=True, slots=True)
class Ring:
    """A deadlock: who waits for whom, and who else waits for them."""

    sentence: str
    members: tuple[Member, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StacksView:
    """All that is shown of a capture of stacks. `seconds` are from the first look to the last."""

    engine: str
    runtime: str
    sentence: str
    cause: str
    confidence: str
    evidence: tuple[str, ...]
    rings: tuple[Ring, ...]
    times: tuple[str, ...]
    processes: tuple[Process, ...]
    seconds: float
    stacks: tuple[tuple[Json, ...], ...]
