"""Who waits for whom: what is a ring, and what is none."""

from __future__ import annotations

from typing import Any

from diag.report.deadlock import deadlocks, judged


def thread(number: int, held_by: int | str | None = None, kind: str = "lock", **more: Any) -> dict[str, Any]:
    """A thread that waits for something of another's."""
    one: dict[str, Any] = {"threadId": number, "name": f"t{number}", "frames": []}
    if held_by is not None:
        wait = {"kind": kind, "what": "waits for x", "resource": f"{kind} {held_by}", "heldBy": held_by}
        one["waiting"] = {**wait, "timed": False, "proof": "it says so", **more}
    return one


def task(name: str, *awaits: str, alone: bool = True, timed: bool = False) -> dict[str, Any]:
    """A task that awaits others."""
    wait = {"kind": "await", "what": f"awaits {', '.join(awaits)}", "timed": timed}
    return {"taskId": name, "name": name, "frames": [], "awaits": list(awaits), "awaitsAlone": alone, "waiting": wait}


def process(*threads: dict[str, Any], tasks: tuple[dict[str, Any], ...] = (), pid: int = 1) -> dict[str, Any]:
    """A process with these threads, and one loop with these tasks."""
    return {"pid": pid, "threads": list(threads), "asyncio": {"loops": [{"tasks": list(tasks)}]}}


def rings(*processes: dict[str, Any]) -> list[list[Any]]:
    """The ids in each ring."""
    return [[node.key[1] for node in one.ring] for one in deadlocks(processes)]


def test_a_ring_of_three_and_those_behind_it() -> None:
    """All members in order, and whoever waits for one of them beside."""
    found = deadlocks([process(thread(1, 2), thread(2, 3), thread(3, 1), thread(4, 1), thread(5, 4), thread(6))])

    (one,) = found
    assert [node.key[1] for node in one.ring] == [1, 2, 3]
    assert [node.key[1] for node in one.others] == [4, 5]
    verdict = judged(found)
    assert verdict is not None and (verdict["cause"], verdict["confidence"]) == ("deadlock", "high")
    assert verdict["sentence"] == "Deadlock: t1 (1), t2 (2) and t3 (3) wait for each other."


def test_a_chain_is_no_ring() -> None:
    """The last of it runs, or waits for something that nobody holds."""
    assert rings(process(thread(1, 2), thread(2, 3), thread(3))) == []
    assert judged([]) is None


def test_a_wait_that_ends_by_itself_is_no_deadlock() -> None:
    """One time-out in the ring is enough."""
    assert rings(process(thread(1, 2), thread(2, 1, timed=True))) == []


def test_a_mutex_can_be_held_by_who_waits_for_it_and_an_rlock_cannot() -> None:
    """An RLock that names the waiting thread as its owner was read in between."""
    assert rings(process(thread(1, 1, kind="mutex"))) == [[1]]
    assert rings(process(thread(1, 1, resource="RLock 0x1"))) == []


def test_two_rings_are_two_deadlocks_the_surer_one_first() -> None:
    """What the code says about a holder is less sure than what the lock says."""
    by_code = {"proof": "thread 2 stands inside of `with x:`"}
    found = deadlocks([process(thread(1, 2, **by_code), thread(2, 1), thread(3, 4), thread(4, 3))])

    assert [[node.key[1] for node in one.ring] for one in found] == [[3, 4], [1, 2]]
    verdict, less = judged(found), judged(found[1:])
    assert verdict is not None and verdict["sentence"].endswith("There is 1 more.")
    assert less is not None and less["confidence"] == "medium"


def test_every_one_that_could_wake_a_task_has_to_be_stuck() -> None:
    """gather over a task that sleeps ends when that one fails."""
    stuck = (task("a", "b", "c"), task("b", "a"), task("c", "a"))
    assert len(rings(process(thread(1), tasks=stuck))) == 1
    sleeping = (task("a", "b", "c"), task("b", "a"))
    assert rings(process(thread(1), tasks=sleeping)) == []
    assert rings(process(thread(1), tasks=(task("a", "b"), task("b", "a", timed=True)))) == []
    assert rings(process(thread(1), tasks=(task("a", "b"), task("b", "a", alone=False)))) == []


def test_a_process_with_two_threads_may_let_go() -> None:
    """Locks on files belong to the process: another thread of it can release them."""
    one, other = process(thread(1, 2, "file lock"), pid=1), process(thread(2, 1, "file lock"), pid=2)
    assert len(rings(one, other)) == 1
    other["threads"].append(thread(3))
    assert rings(one, other) == []
