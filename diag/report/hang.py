"""What two looks at a process that did not get on have shown: the report's `hang`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from diag.evidence import HangSeen, Request
from diag.model import stamp
from diag.report.causes import hangs
from diag.report.stacks_document import document
from diag.report.values import Scrub, signal_name

if TYPE_CHECKING:
    from diag.redact import Redactor

ENGINE = "py-spy"


def hang_json(seen: HangSeen, moment: datetime, redactor: Redactor) -> dict[str, Any]:
    """`{kind, cause, sentence, confidence, evidence, where, age_s, …}`; docs/report.md has all of it.

    `stacks` is a document of stacks, as `diag stacks` makes it, of the looks; None where there was none. `moment` is
    the report's own.
    """
    scrub = Scrub(redactor)
    found: dict[str, Any] = {
        "kind": seen.kind,
        "time": stamp(seen.looks[0].time) if seen.looks else stamp(moment),
        "before_s": round((moment - seen.looks[-1].time).total_seconds(), 3) if seen.looks else 0.0,
        "age_s": round(seen.age_s, 3),
        "threshold_s": round(seen.threshold_s, 3),
        "uncounted_s": round(seen.uncounted_s, 3),
        "timeout_s": seen.timeout_s,
        "signal": signal_name(seen.signal) if seen.signal else None,
        "wentOn": seen.went_on,
        "more": seen.more,
        "captureId": seen.capture_id,
        "requests": [_request(one, moment, scrub) for one in seen.requests],
        "ran": {
            str(id_): {"cpu_s": round(one.cpu_s, 6), "starved_s": round(one.starved_s, 6), "turns": one.turns}
            for id_, one in seen.ran.items()
        },
        "stacks": document([(look,) for look in seen.looks], ENGINE, seen.requests, redactor)[0]
        if seen.looks
        else None,
    }
    return {**found, **hangs.judge(found)}


def _request(request: Request, moment: datetime, scrub: Scrub) -> dict[str, Any]:
    return {
        **request.link.to_json(),
        "method": scrub.text(request.method, 32),
        "path": scrub.url(request.path),
        "started": stamp(request.started),
        "age_s": round((moment - request.started).total_seconds(), 6),
        "duration_s": None,
        "status": None,
        "thread_id": request.thread_id,
    }
