"""Takes the two looks at a process that does not get on, beside the agent's loop, and judges them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from diag.agent.hang_case import Finding
from diag.collectors.collector import Subject
from diag.collectors.procfs import ProcFolder
from diag.errors import DiagError


@dataclass(frozen=True, slots=True)
class HangLook:
    """Fills a finding. `apart_s` are between the looks, `until` is when the process may be ended, monotonic.

    `tools` is entered while a tool runs that nobody else may reap; `stop` ends it early.
    """

    subject: Subject
    finding: Finding
    apart_s: float
    until: float
    tools: Callable[[], AbstractContextManager[None]]
    stop: threading.Event

    def take(self) -> None:
        """Both looks, as far as the process lets us."""
        try:
            self._look_twice()
        except (DiagError, OSError, ValueError, LookupError):  # it ends, and what is read breaks off
            pass
        finally:
            if self.finding.seen.looks:
                self.finding.cause, self.finding.where = _judge(self.finding)
            self.finding.done = True

    def _look_twice(self) -> None:
        # Late: an instance in which nothing hangs never pays for them.
        from diag.collectors.runtime import runtime_of
        from diag.collectors.two_looks import ask, look_once
        from diag.collectors.vitals import between

        subject = replace(self.subject, runtime=runtime_of(self.subject.pid))
        self._name_threads()
        with self.tools():
            first = look_once(subject, self.until)
        self._saw(looks=(first.evidence,))
        if self.stop.wait(self.apart_s):
            return
        with self.tools():
            second = look_once(subject, self.until)
        self._saw(looks=(first.evidence, second.evidence), ran=between(first.counted, second.counted))
        telling = {request.thread_id for request in self.finding.seen.requests}
        telling = telling or {
            one.thread_id for one in second.evidence.threads if one.waiting and one.waiting.kind == "lock"
        }
        asked = ask(subject, second.evidence, telling, self.until)
        self._saw(looks=(first.evidence, asked))

    def _name_threads(self) -> None:
        """A request knows its thread by the number that it has in its own pid namespace."""
        from diag.collectors.thread_ids import inner_ids

        with ProcFolder(self.subject.pid) as folder:
            ids = inner_ids(folder)
        requests = self.finding.seen.requests
        self._saw(requests=tuple(replace(one, thread_id=ids.get(one.thread_id, one.thread_id)) for one in requests))

    def _saw(self, **found: object) -> None:
        self.finding.seen = replace(self.finding.seen, **found)  # type: ignore[arg-type]


def _judge(finding: Finding) -> tuple[str | None, str]:
    """Cause and place; no cause where a suspicion without a request did not prove true."""
    from diag.redact import Redactor
    from diag.report.hang import hang_json

    found = hang_json(finding.seen, finding.seen.looks[-1].time, Redactor())
    proved = finding.seen.kind == "request" or found["cause"] in ("blocked-event-loop", "deadlock")
    return (found["cause"] if proved else None), found["where"]
