"""What is known of a process at its end: by its black box, its stacks, its control group, and the kernel's log."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from diag.agent import node_report, timeouts
from diag.agent.blackbox import exception_seen
from diag.agent.classify import Seen
from diag.agent.go_trace import is_go_file
from diag.agent.watched import Watched
from diag.collectors import cgroup, go_death, kernel_log
from diag.evidence import Ended, NodeSeen

_GO_DIED = 2
AT_ONCE_S = 5.0  # a signal that is not handled ends a process at once, on a loaded machine too


def inquire(
    process: Watched,
    ended: Ended,
    *,
    asked: int | None,
    first: bool,
    stderr_tail: str | None,
    node_file: Path | None = None,
    is_go: bool = False,
) -> tuple[Ended, Seen]:
    """The end with more evidence, and what decides how it is recorded; the process holds what else was found."""
    box = process.box()
    if node_file is not None and box is None:
        process.node = _said_by_node(process, ended, node_file, stderr_tail)
    if first and box is None:
        process.go = _said_by_go(process, ended, stderr_tail, is_go=is_go)
    process.fatal = process.fatal or (box.fatal() if box else None)
    leaving = box.leaving() if box and not process.fatal and not process.frozen else None
    in_handler = leaving is not None and timeouts.is_handler(leaving)
    if leaving is not None:
        # gunicorn's worker survives the SystemExit in the handler, as a rule, and leaves with 0 a little later.
        process.leaving = leaving if in_handler else None
        ended = _with_call(process, ended, leaving)
    if process.sent and process.sent.signal == ended.signal and time.monotonic() - process.sent.moment_s < AT_ONCE_S:
        ended = replace(ended, sender=process.sent.sender)
    if process.node and process.node.of_child and ended.status:
        ended = replace(ended, evidence=(*ended.evidence, process.node.of_child))
    if process.stuck:
        ended = replace(
            ended, evidence=(*ended.evidence, "its server said, before it sent SIGABRT, that it was silent")
        )
    out_of_memory = False
    if ended.signal == signal.SIGKILL:
        ended, out_of_memory = _look_for_oom(process, ended)
    return ended, Seen(
        raised=process.fatal is not None
        or bool(process.node and process.node.exception and ended.status)
        or process.go is not None,
        frozen=process.frozen is not None,
        left_cleanly=bool(box and box.left_cleanly),
        called=ended.call,
        stacks=bool(process.leaving or process.stuck),
        timed_out=in_handler or bool(process.stuck) or timeouts.master_said_so(process.pid, stderr_tail),
        out_of_memory=out_of_memory,
        node_died=bool(process.node and process.node.frames),
        asked=asked,
        first=first,
    )


def _said_by_node(process: Watched, ended: Ended, node_file: Path, stderr_tail: str | None) -> NodeSeen | None:
    seen = node_report.read(node_file, process.pid)
    if seen is None:
        node_report.hand_over(node_file, process.pid, process.facts.working_directory if process.facts else None)
    if ended.signal == signal.SIGABRT and (seen is None or seen.of_child):
        return node_report.aborting(stderr_tail)
    return seen


def _said_by_go(process: Watched, ended: Ended, stderr_tail: str | None, *, is_go: bool) -> go_death.GoDeath | None:
    """Go leaves with 2 after a panic (runtime/panic.go, fatalpanic), and with GOTRACEBACK=crash by SIGABRT."""
    if ended.status != _GO_DIED and ended.signal != signal.SIGABRT:
        return None
    program = process.facts.executable if process.facts else None
    return go_death.read(stderr_tail) if is_go or is_go_file(program) else None


def _with_call(process: Watched, ended: Ended, leaving: dict[str, Any]) -> Ended:
    """The end, with the call by which the program left; unless it left in another way after that."""
    status = leaving.get("status")
    if ended.signal is not None or not isinstance(status, int) or ended.status not in (status, None):
        return ended
    process.leaving = leaving
    evidence = ended.evidence
    if ended.status is None:
        evidence = (*evidence, f"the black box says that it called {leaving.get('call')} with status {status}")
    message = exception_seen(leaving["exception"]).message
    return replace(ended, status=status, call=str(leaving.get("call")), message=message, evidence=evidence)


def _look_for_oom(process: Watched, ended: Ended) -> tuple[Ended, bool]:
    """Whether the OOM killer did it, with what says so as evidence."""
    kills = _oom_kills_since(process)
    if process.facts is not None and kills:
        process.facts = replace(process.facts, cgroup={**process.facts.cgroup, "oom_kill_delta": kills})
    line = kernel_log.oom_kill(process.pid, process.ticks)
    if line is not None:
        ended = replace(ended, evidence=(*ended.evidence, f"the kernel's log: {line}"))
    return ended, kills > 0 or line is not None


def _oom_kills_since(process: Watched) -> int:
    """OOM kills in the process's memory cgroup since we first looked at it."""
    before = process.facts.cgroup.get("memory", {}).get("oomKills") if process.facts else None
    if process.facts is None or before is None:
        return 0
    after = cgroup.read_cgroup(process.cgroup_text).get("memory", {}).get("oomKills")
    return max(0, int(after or 0) - int(before))
