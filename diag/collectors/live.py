"""One look at a live process: its facts, its stacks, its requests. By default it is not stopped for a moment."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from diag.collectors.proc import check_attachable, read_process
from diag.collectors.runtime import runtime_of
from diag.collectors.threads import PLAIN, Depth, read_threads
from diag.errors import NoSuchInstance
from diag.evidence import Evidence, ProcessFacts, Witness
from diag.model import Cost, Instance, Link, Missing, new_capture_id, now, stamp


def look(
    instance: Instance, *, witness: Witness | None = None, depth: Depth = PLAIN, timeout_s: float = 10
) -> Evidence:
    """What can be seen of the process `instance.pid` now; its runtime and start time are filled in.

    What could not be had is in `incomplete`. Raises NoSuchInstance, CannotAttach.
    """
    began, cpu = time.monotonic(), _cpu_s()
    pid, moment = instance.pid, now()
    facts, missing = _facts(pid)
    runtime = runtime_of(pid)
    stacks = read_threads(facts, runtime, depth, timeout_s)
    links = [request.link for request in witness.in_flight] if witness else []
    return Evidence(
        capture_id=new_capture_id(moment),
        time=moment,
        instance=replace(instance, runtime=runtime, start_time=stamp(facts.start_time)),
        trigger="api",
        process=facts,
        threads=stacks.threads,
        witness=witness,
        links=tuple(dict.fromkeys(link for link in links if link != Link())),
        incomplete=(*missing, *stacks.missing),
        cost=Cost(stacks.pause_s, _cpu_s() - cpu, time.monotonic() - began),
    )


def _facts(pid: int) -> tuple[ProcessFacts, tuple[Missing, ...]]:
    try:
        facts, missing = read_process(pid)
    except NoSuchInstance:
        check_attachable(pid)  # hidden, rather than gone?
        raise
    if [task.state for task in facts.tasks] == ["Z"]:
        raise NoSuchInstance(f"Process {pid} has ended; its parent {facts.parent_pid} has not asked how yet.")
    check_attachable(pid)
    return facts, missing


def _cpu_s() -> float:
    """CPU time of ours, and of the tools that we ran and waited for."""
    return sum(os.times()[:4])
