"""Verdicts on workers that their server ended, because they had been silent for too long."""

from __future__ import annotations

import re
from typing import Any

from diag.report.causes.shape import HIGH, verdict
from diag.report.reading import Json, app_frame, duration, is_unnamed, meanwhile, native_frame, place, telling_frames

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
    evidence += hung_before(report)
    where = f"; it stood in {standing}" if (standing := _standing(frames)) else ""
    sentence = f"gunicorn's master ended it: it had been silent for longer than --timeout{where}{meanwhile(report)}."
    return verdict("worker-timeout", sentence, HIGH, evidence)


def hung_before(report: Json) -> list[str]:
    """What the last looks at it said, where it did not get on before it ended."""
    hang = report["hang"]
    if hang is None or hang["stacks"] is None:
        return []
    return [f"{duration(hang['before_s'])} before the end: {hang['sentence']}", *hang["evidence"][:1]]


def _standing(frames: list[Json]) -> str:
    """`recv (libc.so.6), called from view (app.py:20)`, as much of it as is known."""
    native = native_frame(frames)
    frame = app_frame([frame for frame in frames if frame["language"] == "python"])
    called = place(frame) if frame else ""
    if native is None or is_unnamed(native):
        return called
    return f"{place(native)}, called from {called}" if called else place(native)
