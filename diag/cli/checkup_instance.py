"""The checks of `diag doctor INSTANCE`: what can be learned of this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diag.agent import registry
from diag.agent.registry import Target
from diag.cli.checkup import Check
from diag.cli.taking import choose, subject_of
from diag.collectors import questions
from diag.collectors.asked import ExecAsked, MemoryAsked, PacketsAsked, ProfileAsked, StacksAsked
from diag.collectors.cgroup import read_cgroup
from diag.collectors.collector import COLLECTORS, Subject, collector
from diag.collectors.proc import check_attachable, read_process
from diag.collectors.runtime import runtime_of
from diag.collectors.tcpdump import Tcpdump
from diag.collectors.threads import standing
from diag.errors import CannotAttach, DiagError, WrongEngine
from diag.evidence import STOPPED, ProcessFacts

OLDEST_PROBED = (3, 8)
NEWEST_TRIED = (3, 13)
# What the captures of each kind are asked for when nothing is said.
DEFAULTS: dict[str, Any] = {"stacks": StacksAsked(), "profile": ProfileAsked(), "memory": MemoryAsked()}
SPOKEN = {
    "python": ("austin", "py-spy", "perf", "memray", "objects", "tracemalloc"),
    "node": ("node", "perf"),
    "go": ("go", "perf"),
    "native": ("perf", "eu-stack"),
}


def check_instance(target: Target) -> Iterator[Check]:
    """Everything that depends on the instance. Raises NoSuchInstance where it goes away meanwhile."""
    facts, _ = read_process(target.pid)
    attach = check_attach(target.pid, facts)
    yield attach
    if attach.outcome == "works":
        yield check_runtime(target.pid)
        yield check_exec(target)
    yield check_probe(target)
    yield check_agent(target)
    yield check_running(facts)
    yield check_memory(facts)
    yield check_packets(target)
    if attach.outcome == "works":
        yield from check_captures(target)
        if runtime_of(target.pid).startswith("python"):
            yield check_inside(target)


def check_captures(target: Target) -> Iterator[Check]:
    """Each engine that takes captures of this kind of process: how it would work, or what keeps it from it."""
    subject = subject_of(target)
    for kind, asked in DEFAULTS.items():
        for engine in COLLECTORS[kind]:
            found = _check_engine(kind, engine, asked, subject)
            if found is not None:
                yield found


def _check_engine(kind: str, engine: str, asked: Any, subject: Subject) -> Check | None:
    name = f"{kind} {engine}"
    try:
        return Check(name, "works", collector(kind, engine)(asked).check(subject))
    except WrongEngine as error:
        # An engine of another runtime is none of its limits.
        return (
            Check(name, "limited", str(error), error.help_text) if engine in SPOKEN.get(subject.language, ()) else None
        )
    except DiagError as error:
        return Check(name, "limited", str(error), error.help_text)


def check_inside(target: Target) -> Check:
    """Whether the probe can be asked what only the inside knows."""
    knows = "asyncio tasks, and who holds a lock that does not know it itself"
    try:
        questions.check(subject_of(target))
    except DiagError as error:
        return Check("questions", "limited", f"{knows}: {error}", error.help_text)
    return Check("questions", "works", f"the probe answers: {knows}")


def check_attach(pid: int, facts: ProcessFacts) -> Check:
    """Whether its memory may be read."""
    try:
        check_attachable(pid)
    except CannotAttach as error:
        owner = f"it belongs to uid {facts.uid}, this is uid {os.geteuid()}"
        return Check("readable", "broken", f"pid {pid} cannot be read; {owner}", error.help_text)
    where = "" if facts.root == "/" else ", in a container or another root"
    return Check("readable", "works", f"pid {pid}, uid {facts.uid}{where}")


def check_runtime(pid: int) -> Check:
    """What it is made of, and how far that is served."""
    runtime = runtime_of(pid)
    if not runtime.startswith("python"):
        words = f"{runtime or 'unknown'}: facts of the process, its end and its memory; `diag stacks` shows its threads"
        return Check("runtime", "limited", words)
    version = tuple(int(part) for part in runtime.split()[1].split(".")[:2] if part.isdigit()) if " " in runtime else ()
    if version and version < OLDEST_PROBED:
        return Check("runtime", "limited", f"{runtime}: stacks only; the probe needs 3.8 or later")
    if version > NEWEST_TRIED:
        return Check("runtime", "limited", f"{runtime} is newer than what this diag was tried on (3.8 to 3.13)")
    return Check("runtime", "works", runtime)


def check_exec(target: Target) -> Check:
    """Whether a command can be run beside it, and where that would be."""
    try:
        collector, words = choose("exec", "auto", ExecAsked(), subject_of(target))
    except DiagError as error:
        return Check("exec", "limited", f"diag exec, diag shell: {error}", error.help_text)
    return Check("exec", "works", f"diag exec, diag shell: {words.removeprefix(f'{collector.engine}: ')}")


def check_probe(target: Target) -> Check:
    """Whether the probe speaks from inside."""
    if registry.black_box(target.run_dir, target.pid) is not None:
        return Check("probe", "works", "linked: crashes are caught in full, requests are known")
    if target.run_dir is not None:
        advice = "Python's -I, -S and -E keep it out, and so does a program that clears PYTHONPATH."
        return Check(
            "probe", "limited", "absent, although diag started it: crashes are caught from outside only", advice
        )
    advice = "Start it with: diag run --name NAME -- COMMAND"
    return Check("probe", "limited", "absent: it can be looked at, but nobody catches its crash", advice)


def check_agent(target: Target) -> Check:
    """Whether somebody will see it end."""
    if target.agent_pid is None:
        return Check("agent", "limited", "nobody waits for its end", "Start it with: diag run --name NAME -- COMMAND")
    if registry.alive(target.agent_pid, target.agent_start_ticks):
        return Check("agent", "works", f"pid {target.agent_pid} waits for its end")
    words = f"pid {target.agent_pid} is gone; the end is found by the next diag that runs"
    return Check("agent", "limited", words, "Start the instance anew under `diag run` when you can.")


def check_packets(target: Target) -> Check:
    """Whether its packets can be captured, and at what cost."""
    try:
        words = Tcpdump(PacketsAsked()).check(subject_of(target))
    except DiagError as error:
        return Check("tcpdump", "limited", str(error), error.help_text)
    return Check("tcpdump", "works", words)


def check_running(facts: ProcessFacts) -> Check:
    """Whether somebody has stopped it."""
    held = standing(facts)
    if held:
        advice = f"kill -CONT {facts.pid} lets it run on." if held == STOPPED else _THAW
        return Check("state", "limited", f"{held}; diag leaves it so", advice)
    return Check("state", "works", "running")


_THAW = "Whoever froze its control group thaws it: podman unpause, docker unpause, systemctl thaw."


def check_memory(facts: ProcessFacts) -> Check:
    """Whether a kill for want of memory could be proved."""
    found = facts.cgroup or read_cgroup(Path(f"/proc/{facts.pid}/cgroup").read_text())
    memory = found.get("memory", {})
    if "oomKills" not in memory:
        return Check("memory", "limited", "the counters of its cgroup cannot be read, so an OOM kill cannot be proved")
    limit = f"limit {memory['limit'] // 2**20} MiB" if memory.get("limit") else "no limit"
    return Check("memory", "works", f"{limit}, {memory['oomKills']} OOM kills in its cgroup so far")
