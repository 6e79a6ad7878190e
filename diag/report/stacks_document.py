"""The document of a capture of stacks: every look at every process, with equal stacks written down once.

Shape (`diag.stacks/1`, described in docs/stacks.md): `{schema, engine, runtime, verdict, deadlocks, looks, stacks}`. A
look is `{time, processes}`, a process `{pid, command, threads, asyncio}`; threads and tasks are those of a report, but
for `stack`, a number in `stacks`, in the place of their frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from diag.evidence import Evidence, Request
from diag.model import stamp
from diag.report import stacks
from diag.report.causes.shape import HIGH, verdict
from diag.report.deadlock import deadlocks, judged
from diag.report.loops import loops_json
from diag.report.standing import standing
from diag.report.values import Gaps, Scrub

if TYPE_CHECKING:
    from diag.redact import Redactor

SCHEMA = "diag.stacks/1"
_REQUESTS_KEPT = 20


def document(
    looks: Sequence[Sequence[Evidence]], engine: str, requests: Iterable[Request], redactor: Redactor
) -> tuple[dict[str, Any], Gaps]:
    """The document, redacted, and what is missing in it; `requests` are those of the time of the looks."""
    scrub, gaps = Scrub(redactor), Gaps()
    for gap in (gap for look in looks for one in look for gap in one.incomplete):
        gaps.add(gap.section, gap.reason)
    served, table = tuple(requests), _Table()
    shown = [[_process(one, served, scrub, gaps) for one in look] for look in looks]
    found = deadlocks(shown[-1])
    answer = judged(found) or _alive(shown[-1])
    for process in (process for look in shown for process in look):
        table.take(process)
    return {
        "schema": SCHEMA,
        "engine": engine,
        "runtime": looks[0][0].instance.runtime,
        "verdict": answer,
        "deadlocks": [one.to_json() for one in found],
        "looks": [{"time": look[0]["time"], "processes": look} for look in shown],
        "stacks": table.stacks,
    }, gaps


def _process(evidence: Evidence, requests: Sequence[Request], scrub: Scrub, gaps: Gaps) -> dict[str, Any]:
    scene = stacks.survey(evidence, stacks.Allowance())
    threads = stacks.threads_json(evidence, scene, scrub, gaps)
    for thread in threads:
        del thread["crashed"]
        serving = [_request(one, evidence, scrub) for one in requests if _serves(thread, one, evidence)]
        if serving:
            thread["requests"] = serving[:_REQUESTS_KEPT]
    command = evidence.process.command if evidence.process else ()
    return {
        "time": stamp(evidence.time),
        "pid": evidence.instance.pid,
        "runtime": evidence.instance.runtime,
        "command": scrub.argv(command),
        "workingDirectory": scrub.text(evidence.process.working_directory or "") if evidence.process else "",
        "threads": threads,
        "asyncio": {"loops": loops_json(evidence.loops, scene, scrub)} if evidence.loops is not None else {},
    }


def _serves(thread: dict[str, Any], request: Request, evidence: Evidence) -> bool:
    """Whether the request was under way on this thread when it was looked at."""
    if request.thread_id != thread["threadId"] or request.started > evidence.time:
        return False
    return request.ended is None or request.ended >= evidence.time


def _request(request: Request, evidence: Evidence, scrub: Scrub) -> dict[str, Any]:
    return {
        **request.link.to_json(),
        "method": scrub.text(request.method, 32),
        "path": scrub.url(request.path),
        "age_s": round((evidence.time - request.started).total_seconds(), 6),
    }


def _alive(processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    threads = [thread for process in processes for thread in process["threads"]]
    tasks = sum(len(loop["tasks"]) for process in processes for loop in process["asyncio"].get("loops", ()))
    stand = standing(threads)
    waiting = sum("waiting" in thread and not standing([thread]) for thread in threads)
    in_all = f"{len(threads)} thread{'s' if len(threads) != 1 else ''}"
    running = len(threads) - waiting - stand.total()
    with_tasks = f", with {tasks} asyncio task{'s' if tasks != 1 else ''}" if tasks else ""
    held = "".join(f", {count} {words}" for words, count in stand.items())
    sentence = f"{in_all}{with_tasks}: {running} running, {waiting} waiting{held}. No deadlock is proved."
    return verdict("alive", sentence, HIGH, ["Nobody was found to wait for somebody who waits for them."])


class _Table:
    """Stacks by what they are, each once."""

    def __init__(self) -> None:
        self.stacks: list[list[dict[str, Any]]] = []
        self._numbers: dict[str, int] = {}

    def take(self, process: dict[str, Any]) -> None:
        """Put a number in the place of each list of frames."""
        tasks = [task for loop in process["asyncio"].get("loops", ()) for task in loop["tasks"]]
        for holder in (*process["threads"], *tasks):
            holder["stack"] = self._number(holder.pop("frames"))

    def _number(self, frames: list[dict[str, Any]]) -> int:
        number = self._numbers.setdefault(json.dumps(frames), len(self.stacks))
        if number == len(self.stacks):
            self.stacks.append(frames)
        return number
