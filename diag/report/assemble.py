"""From evidence to the report: Node's diagnostic report, version 5, widened for Python and for crashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diag.evidence import Evidence, NodeSeen, Request
from diag.model import stamp
from diag.report import last_look, resources, stacks
from diag.report.ending import exit_json, signal_json
from diag.report.fingerprint import fingerprint
from diag.report.hang import hang_json
from diag.report.header import file_name, header
from diag.report.host import Host, look
from diag.report.loops import loops_json
from diag.report.size import fit
from diag.report.sources import add_sources
from diag.report.timeline import timeline_json
from diag.report.values import Gaps, Scrub
from diag.report.verdict import judge

if TYPE_CHECKING:
    from diag.redact import Redactor

__all__ = ["assemble", "file_name"]

_STDERR_KEPT = 65536
_CHILDREN_KEPT = 100
_CHILDREN_DEPTH = 3
_OF_A_CHILD = (1000, 200)  # frames and local variables


def assemble(
    evidence: Evidence, redactor: Redactor, *, host: Host | None = None, source_lines: int = 0
) -> dict[str, Any]:
    """The report as JSON values, redacted, at most 4 MB; docs/report.md and schema.json describe it.

    `host` are the facts of the machine, read now where they are not given. Nothing of the process is read but the ELF
    files it has mapped, and with `source_lines` so many lines around those of the application's innermost frames.
    """
    report = _report(evidence, Scrub(redactor), host or look(), source_lines, depth=0)
    report["redactions"] = [dict(entry) for entry in redactor.counts()]
    return fit(report)


def _report(evidence: Evidence, scrub: Scrub, host: Host, source_lines: int, depth: int) -> dict[str, Any]:
    gaps = Gaps(list(evidence.incomplete))
    scene = stacks.survey(evidence, stacks.Allowance(*(_OF_A_CHILD if depth else ())))
    exception = stacks.exception_json(evidence.exception, scene, scrub) if evidence.exception else None
    threads = stacks.threads_json(evidence, scene, scrub, gaps)
    if not threads:
        gaps.add("threads", "no stack was read")
    leading = stacks.leading_thread(threads, evidence.instance.pid)
    signal = signal_json(evidence, scrub)
    report: dict[str, Any] = {
        "header": header(evidence, scrub, host, gaps),
        "verdict": {},
        "fingerprint": "",
        "captureId": evidence.capture_id,
        "level": evidence.level,
        "trigger": evidence.trigger,
        "instance": _instance(evidence, scrub),
        "links": [link.to_json() for link in evidence.links],
        "requests": _requests(evidence, scrub, gaps),
        "exit": exit_json(evidence, scrub),
        "signal": signal,
        "exception": exception,
        "pythonStack": stacks.python_stack(_message(exception, signal), exception, leading, gaps),
        "nativeStack": stacks.native_stack(leading, gaps),
        "threads": threads,
        "pythonHeap": _heap(evidence, scrub, gaps),
        "asyncio": _asyncio(evidence, scene, scrub, gaps),
        "resourceUsage": resources.resource_usage(evidence, host, gaps),
        "userLimits": resources.user_limits(evidence.process, gaps),
        "cgroup": _cgroup(evidence, scrub, gaps),
        "lastLook": last_look.last_look_json(evidence, scrub),
        "hang": hang_json(evidence.hang, evidence.time, scrub.redactor) if evidence.hang else None,
        "recent": _recent(evidence, scrub, gaps),
        "timeline": timeline_json(evidence, gaps),
        "stderrTail": _stderr(evidence, scrub, gaps),
        "environmentVariables": _environment(evidence, scrub, gaps),
        "sharedObjects": resources.shared_objects(evidence.process, gaps),
        "modules": resources.modules(evidence.process, gaps),
        "workers": _workers(evidence, scrub, host, gaps, depth),
        "cost": evidence.cost.to_json(),
        "redactions": [],
    }
    if evidence.node is not None and evidence.node.trigger:
        report["node"] = _node(evidence.node, scrub)
    add_sources(report, evidence, source_lines, scrub, gaps)
    report["incomplete"] = [
        {"section": entry.section, "reason": scrub.text(entry.reason, 1024)} for entry in gaps.found
    ]
    report["verdict"] = judge(report)
    report["fingerprint"] = fingerprint(report)
    return report


def _message(exception: Mapping[str, Any] | None, signal: Mapping[str, Any] | None) -> str:
    if exception is not None:
        return f"{exception['type']}: {exception['message']}" if exception["message"] else str(exception["type"])
    if signal is not None:
        return f"{signal['name']} (signal {signal['number']})"
    return "Python call stack"


def _instance(evidence: Evidence, scrub: Scrub) -> dict[str, Any]:
    shown = evidence.instance.to_json()
    shown["labels"] = scrub.locals(shown["labels"])  # a label's name tells whether its value is a secret
    return shown


def _requests(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> list[dict[str, Any]]:
    if evidence.witness is None:
        gaps.add("requests", "the probe was absent, so requests were not seen")
        return []
    return [_request(request, evidence, scrub) for request in evidence.witness.in_flight]


def _request(request: Request, evidence: Evidence, scrub: Scrub) -> dict[str, Any]:
    return {
        **request.link.to_json(),
        "method": scrub.text(request.method, 32),
        "path": scrub.url(request.path),
        "started": stamp(request.started),
        "age_s": round((evidence.time - request.started).total_seconds(), 6),
        "duration_s": request.duration_s,
        "status": request.status,
        "thread_id": request.thread_id,
    }


def _recent(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> dict[str, Any]:
    witness = evidence.witness
    if witness is None:
        gaps.add("recent", "the probe was absent, so nothing was written inside the process")
        return {"requests": [], "events": [], "requestsStarted": 0, "requestsFinished": 0, "dropped": 0}
    return {
        "requests": [_request(request, evidence, scrub) for request in witness.finished],
        "events": [scrub.plain(event) for event in witness.events],
        "requestsStarted": witness.requests_started,
        "requestsFinished": witness.requests_finished,
        "dropped": witness.dropped,
    }


def _heap(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> dict[str, Any]:
    heap = evidence.witness.heap if evidence.witness else {}
    if not heap:
        gaps.add("pythonHeap", "the probe wrote no facts of the heap")
    return dict(scrub.plain(heap))


def _asyncio(evidence: Evidence, scene: stacks.Scene, scrub: Scrub, gaps: Gaps) -> dict[str, Any]:
    if evidence.loops is None:
        gaps.add("asyncio", "the tasks of event loops were not asked for: only the probe of a live Python knows them")
        return {}
    return {"loops": loops_json(evidence.loops, scene, scrub)}


def _node(seen: NodeSeen, scrub: Scrub) -> dict[str, Any]:
    """What only Node has, in the names and shapes of its own report."""
    return {
        "event": scrub.text(seen.event, 1024),
        "trigger": seen.trigger,
        "reportVersion": seen.report_version,
        "unhandledRejection": seen.rejected,
        "javascriptHeap": scrub.plain(seen.heap),
        "resourceUsage": scrub.plain(seen.resource_usage),
        "libuv": scrub.plain(seen.libuv),
        "workers": seen.workers,
    }


def _cgroup(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> dict[str, Any]:
    cgroup = evidence.process.cgroup if evidence.process else {}
    if not cgroup:
        gaps.add("cgroup", "the control group could not be read")
    return dict(scrub.plain(cgroup))


def _stderr(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> str:
    if evidence.stderr_tail is None:
        gaps.add("stderrTail", "standard error was not observed")
        return ""
    return scrub.tail(evidence.stderr_tail, _STDERR_KEPT)


def _environment(evidence: Evidence, scrub: Scrub, gaps: Gaps) -> dict[str, str]:
    if evidence.process is None or not evidence.process.environment:
        gaps.add("environmentVariables", "the environment could not be read")
        return {}
    return scrub.environment(evidence.process.environment)


def _workers(evidence: Evidence, scrub: Scrub, host: Host, gaps: Gaps, depth: int) -> list[dict[str, Any]]:
    kept = evidence.children[:_CHILDREN_KEPT] if depth < _CHILDREN_DEPTH else ()
    if len(kept) < len(evidence.children):
        gaps.add("workers", f"{len(evidence.children) - len(kept)} processes were left out to bound the size")
    return [_report(child, scrub, host, 0, depth + 1) for child in kept]
