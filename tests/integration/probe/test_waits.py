"""Deadlocks that are proved, and waits that only look like one; tasks of event loops. From CPython 3.8 on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S, VERSIONS, python
from probed import line_of, path_of
from standin import StandIn
from states import resting

from diag.agent.registry import start_ticks
from diag.collectors import inside
from diag.collectors.inside import ask_inside
from diag.collectors.live import look
from diag.evidence import Evidence
from diag.model import Instance
from diag.probe.diag_probe import layout
from diag.redact import Redactor
from diag.report.stacks_document import document

FEW = ("3.8", "3.11", "3.13")
FUTEX = ("202", "98")  # x86-64, and the generic table

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine makes of the seconds that a person would wait is not what is tried here."""
    monkeypatch.setattr(inside, "PATIENCE_S", float(TIMEOUT_S))


@pytest.fixture
def begin(agent: StandIn) -> Iterator[Begin]:
    """Start a program, with the probe in it unless it is `bare`; returns when it has said "ready"."""
    started: list[subprocess.Popen[str]] = []

    def run(version: str, name: str, *arguments: str, bare: bool = False) -> subprocess.Popen[str]:
        environment = None if bare else agent.environment()
        command = [python(version), path_of(name), *arguments]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, env=environment, **pipes)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def settled(wait_for: Callable[[Callable[[], object]], None]) -> Callable[[int, int], None]:
    """Waits until all threads of a process rest, and so many of them on a futex."""

    def waiting(pid: int) -> int:
        return sum(call.split()[0] in FUTEX for call in resting(pid))

    return lambda pid, threads: wait_for(lambda: waiting(pid) >= threads)


def seen(agent: StandIn, pid: int, *, bare: bool = False) -> Evidence:
    """One look at the process, with what its probe says; its box stands under the name that the agent gives it."""
    ticks = start_ticks(pid)
    final = agent.boxes / (layout.BOX_NAME % (pid, ticks))
    if not bare and not final.exists():
        agent.wait_for(lambda: any(link.pid == pid and link.packets for link in agent.connections))
        (link,) = [link for link in agent.connections if link.pid == pid]
        (agent.boxes / link.hello["box"]).rename(final)
    instance = Instance(service="s", name="n", instance_id="i", host="h", pid=pid, start_time="")
    return ask_inside(look(instance), None if bare else agent.boxes.parent, None)


def shown(*evidence: Evidence) -> dict[str, Any]:
    """The document of this one look."""
    return document([evidence], "py-spy", (), Redactor())[0]


def members(found: dict[str, Any]) -> set[str]:
    """The names of those in the first deadlock, without their numbers."""
    return {member["name"].partition(" ")[0] for member in found["deadlocks"][0]["members"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_rlocks_name_their_owner_to_anybody(version: str, agent: StandIn, begin: Begin, settled: Callable) -> None:
    """Two threads that take two RLocks in turn are a deadlock, proved from outside in a process of nobody's."""
    process = begin(version, "deadlock.py", "rlocks", bare=True)
    settled(process.pid, 2)

    evidence = seen(agent, process.pid, bare=True)
    found = shown(evidence)

    assert members(found) == {"here", "there"}
    assert (found["verdict"]["cause"], found["verdict"]["confidence"]) == ("deadlock", "high")
    assert f"deadlock.py:{line_of('deadlock.py', 'second')}" in found["verdict"]["evidence"][0]
    assert evidence.cost.pause_s == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_locks_are_held_by_who_stands_in_their_with(
    version: str, agent: StandIn, begin: Begin, settled: Callable
) -> None:
    """The same with Locks, which have no owner: the probe finds who stands in a `with` over them."""
    process = begin(version, "deadlock.py", "locks")
    settled(process.pid, 2)

    found = shown(seen(agent, process.pid))

    assert members(found) == {"here", "there"}
    assert found["verdict"]["confidence"] == "medium"
    assert "stands inside of `with first:` in " in found["verdict"]["evidence"][0]


@pytest.mark.parametrize("version", FEW)
def test_main_thread_that_waits_for_its_own_lock(version: str, agent: StandIn, begin: Begin, settled: Callable) -> None:
    """It answers all the same, and its lock is its own."""
    process = begin(version, "deadlock.py", "itself")
    settled(process.pid, 1)

    found = shown(seen(agent, process.pid))

    assert "which it holds itself" in found["verdict"]["sentence"]
    assert f"deadlock.py:{line_of('deadlock.py', 'again')}" in found["deadlocks"][0]["members"][0]["where"]


@pytest.mark.parametrize("version", FEW)
@pytest.mark.parametrize(("kind", "who"), [("join", "outside"), ("join_main", "MainThread")])
def test_join_of_a_thread_that_waits_for_us(
    kind: str, who: str, version: str, agent: StandIn, begin: Begin, settled: Callable
) -> None:
    """Thread.join waits for the end of that thread, and an RLock for its owner."""
    process = begin(version, "deadlock.py", kind)
    settled(process.pid, 2)

    assert members(shown(seen(agent, process.pid))) == {who, "inside"}


@pytest.mark.parametrize("version", FEW)
@pytest.mark.parametrize(
    ("kind", "threads"), [("timed", 2), ("by_hand", 2), ("condition", 1), ("let_go", 1), ("pool", 20)]
)
def test_what_is_not_proved_is_not_claimed(
    kind: str, threads: int, version: str, agent: StandIn, begin: Begin, settled: Callable
) -> None:
    """Time-outs, locks that were taken by hand, let go meanwhile, and workers that wait for work are no deadlock."""
    process = begin(version, "deadlock.py", kind)
    settled(process.pid, threads)

    found = shown(seen(agent, process.pid))

    assert (found["verdict"]["cause"], found["deadlocks"]) == ("alive", [])


def tasks(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of the only loop by name."""
    (process,) = found["looks"][0]["processes"]
    (loop,) = process["asyncio"]["loops"]
    assert loop["threadId"] == process["pid"]
    return {task["name"]: task for task in loop["tasks"]}


@pytest.mark.parametrize("version", FEW)
def test_tree_of_tasks(version: str, agent: StandIn, begin: Begin) -> None:
    """Each task has its name, its coroutines down to what is awaited, what it awaits, and who awaits it."""
    process = begin(version, "awaiting.py", "rings")

    evidence = seen(agent, process.pid)
    found = shown(evidence)

    assert 0 < evidence.cost.pause_s < TIMEOUT_S
    known = tasks(found)
    names = {task["taskId"]: name for name, task in known.items()}
    parents = {name: {names[one] for one in task["awaitedBy"]} for name, task in known.items()}
    assert parents["middle"] == {"shielded", "waited"}
    assert sum("gathered" in above for above in parents.values()) == 2
    assert parents["ping"] == {"pong"} and parents["pong"] == {"ping"}
    assert {names[one] for one in known["ping"]["awaits"]} == {"pong"}
    assert known["queue"]["waiting"]["what"] == "awaits asyncio.Queue.get"
    if version != "3.8":
        assert parents["member"] == {"grouped"}
    frames = found["stacks"][known["middle"]["stack"]]
    assert [(frame["function"], frame["line"]) for frame in frames[1:]] == [
        ("leaf", line_of("awaiting.py", "leaf")),
        ("middle", line_of("awaiting.py", "middle")),
    ]
    iterated = [frame["function"] for frame in found["stacks"][known["iterate"]["stack"]]]
    assert iterated[-2:] == ["generate", "iterate"]


@pytest.mark.parametrize("version", FEW)
def test_rings_of_tasks(version: str, agent: StandIn, begin: Begin) -> None:
    """Tasks that await each other, and tasks that hold each other's lock, are two deadlocks."""
    process = begin(version, "awaiting.py", "rings")

    found = shown(seen(agent, process.pid))

    rings = [{member["name"] for member in one["members"]} for one in found["deadlocks"]]
    assert rings == [{"task ping", "task pong"}, {"task here", "task there"}]


@pytest.mark.parametrize("version", FEW)
def test_tasks_that_something_else_wakes(version: str, agent: StandIn, begin: Begin) -> None:
    """Where a time-out stands over it, or a sibling in gather may fail first, no deadlock is claimed."""
    process = begin(version, "awaiting.py", "free")

    assert shown(seen(agent, process.pid))["deadlocks"] == []


def test_probe_is_not_asked_in_vain(agent: StandIn, begin: Begin, settled: Callable) -> None:
    """Without asyncio, and with idle workers only, the main thread is left alone."""
    process = begin("3.11", "deadlock.py", "pool")
    settled(process.pid, 20)

    evidence = seen(agent, process.pid)

    assert (evidence.loops, evidence.cost.pause_s, evidence.incomplete) == ((), 0, ())


def test_without_a_probe_it_is_said(agent: StandIn, begin: Begin) -> None:
    """Tasks of a process that nobody prepared are missing, with what would make it work."""
    process = begin("3.11", "awaiting.py", "rings", bare=True)

    evidence = seen(agent, process.pid, bare=True)

    (missing,) = evidence.incomplete
    assert missing.section == "asyncio"
    assert "diag run" in missing.reason


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers_of_instructions(version: str) -> None:
    """The probe's own table says the same as Python's."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(layout.__file__).parents[1])!r})\n"
        "import opcode; from diag_probe.holding import _NAMES\n"
        "assert all(opcode.opmap[name] == number for number, name in _NAMES.items() if name != 'CACHE'), _NAMES\n"
        "assert len(_NAMES) > 8"
    )
    subprocess.run([python(version), "-c", script], check=True, timeout=TIMEOUT_S)
