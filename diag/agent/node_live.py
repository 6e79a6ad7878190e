"""A live Node as it describes itself: its own diagnostic report and its JavaScript stack, through the inspector.

Nobody has to have prepared it. Node's report looks up the names of its connections by DNS, which holds up the program,
unless it is told not to; a Node that cannot be told (before 20.13) is asked only where it has none.
"""

from __future__ import annotations

import time
from dataclasses import replace

from diag.agent.node_report import MAX_BYTES, of_living
from diag.errors import CannotAttach, ToolFailed, WrongEngine
from diag.evidence import Evidence, NodeSeen, Thread
from diag.model import Missing

_ASKED = """(() => {
  const report = process.report;
  if (!report || typeof report.getReport !== 'function') return 'none';
  const quiet = 'excludeNetwork' in report;
  const connected = (handle) => {
    try { return Boolean(handle.remoteAddress || handle.address().port); } catch { return false; }
  };
  if (!quiet && process._getActiveHandles().some(connected)) return 'network';
  const before = report.excludeNetwork;
  try {
    if (quiet) report.excludeNetwork = true;
    const said = report.getReport();
    const text = typeof said === 'string' ? said : JSON.stringify(said);
    return text.length > %d ? 'large' : text;
  } finally {
    if (quiet) report.excludeNetwork = before;
  }
})()""" % (MAX_BYTES // 2)  # noqa: UP031  braces are JavaScript's
_WHY_NOT = {
    "none": "this Node has no diagnostic reports, which came with 11.8 and are always on since 12.17",
    "network": "this Node looks up the names of its connections while it makes a report, which would hold it up; since "
    "20.13 it can be told not to",
    "large": f"Node's own report has more than {MAX_BYTES >> 21} MiB, and was not taken",
}


def with_node(evidence: Evidence) -> Evidence:
    """The evidence of a live process with what Node says of itself; unchanged where it is no Node."""
    if evidence.instance.runtime.partition(" ")[0] != "node" or evidence.process is None:
        return evidence
    from diag.collectors.threads import standing  # here as below: no other report pays for a web socket's library

    held = standing(evidence.process)
    try:
        if held:
            raise WrongEngine(f"The process is {held}: it cannot answer.", "")
        thread, seen, version, busy_s = _ask(evidence.instance.pid)
    except (WrongEngine, CannotAttach, ToolFailed) as error:
        gap = Missing("node", f"Node was not asked for its own report: {error} {error.help_text}".strip())
        return replace(evidence, incomplete=(*evidence.incomplete, gap))
    cost = replace(evidence.cost, duration_s=evidence.cost.duration_s + busy_s, pause_s=evidence.cost.pause_s + busy_s)
    gaps = [gap for gap in evidence.incomplete if gap.section != "threads.frames"]
    return replace(
        evidence,
        instance=replace(evidence.instance, runtime=f"node {version}".strip()),
        threads=tuple(_merged(one, thread) for one in evidence.threads) or (thread,),
        node=seen,
        incomplete=(*gaps, *seen.missing),
        cost=cost,
    )


def _ask(pid: int) -> tuple[Thread, NodeSeen, str, float]:
    """The main thread, Node's report, its version, and for how long it was busy with us."""
    from diag.collectors import inspector, node_stacks

    try:
        with inspector.opened(pid) as session:
            thread, busy_s = node_stacks.sample(session, pid)
            version = session.version
            began = time.monotonic()
            answer = session.call("Runtime.evaluate", expression=_ASKED, returnByValue=True)["result"].get("value")
            busy_s += time.monotonic() - began
    except inspector.Gone as error:
        raise ToolFailed(f"Process {pid} ended, or closed its inspector, before it was read.", "") from error
    text = answer if isinstance(answer, str) else "none"
    if text in _WHY_NOT:
        return thread, NodeSeen(missing=(Missing("node", _WHY_NOT[text]),)), version, busy_s
    return thread, of_living(text, pid), version, busy_s


def _merged(seen: Thread, main: Thread) -> Thread:
    if seen.thread_id != main.thread_id:
        return seen
    return replace(seen, frames=main.frames, waiting=main.waiting or seen.waiting, state=main.state)
