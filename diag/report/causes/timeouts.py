"""Verdicts on workers that their server ended, because they had been silent for too long."""

from __future__ import annotations

import re
from typing import Any

from diag.report.causes.shape import HIGH, verdict
from diag.report.reading import Json, app_frame, meanwhile, place, telling_frames

_HANDLER = "handle_abort"  # gunicorn's, in the worker, of the SIGABRT that its master sends


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a report of the trigger "hang" whose process has ended."""
    frames = telling_frames(report)
    evidence = list(report["exit"]["evidence"])
    if frames and frames[0]["function"] == _HANDLER:
        evidence.append("It left in gunicorn's own handler of SIGABRT, which the master sends when --timeout is over.")
        frames = frames[1:]
    said = re.findall(
        rf"^.*WORKER TIMEOUT \(pid:{report['header']['processId']}\).*$", report["stderrTail"], re.MULTILINE
    )
    if said:
        evidence.append(f"On stderr stands: {said[-1].strip()}")
    frame = app_frame(frames)
    where = f"; it stood in {place(frame)}" if frame else ""
    sentence = f"gunicorn's master ended it: it had been silent for longer than --timeout{where}{meanwhile(report)}."
    return verdict("worker-timeout", sentence, HIGH, evidence)
