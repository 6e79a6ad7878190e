"""Verdicts on ends by an exit status: which call it was and where, and what Python said last."""

from __future__ import annotations

import re
from typing import Any

from diag.report.causes.shape import HIGH, LOW, MEDIUM, verdict
from diag.report.reading import Json, app_frame, meanwhile, place, telling_frames

_MEANINGS = {126: "the command could not be executed", 127: "the command was not found"}
_UNSETTLED = 13  # nodejs.org/api/process.html, "Exit codes"
_HIGHEST_SIGNAL = 64  # signal(7): SIGRTMAX
_LONGEST = 200
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
# pythonrun.c prints a traceback like this; the last line is the exception's. pylifecycle.c says why it cannot start.
_RAISED = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*(?P<said>[A-Za-z_][\w.]*(?:: .*)?)$", re.MULTILINE
)
# How runtimes begin their last words, at whose end stands no reason: Rust's, Go's, and that of gcc's sanitizers.
_TELLING = re.compile(r"thread '.*' panicked at |panic: |fatal error: |==\d+==ERROR: \w+Sanitizer: ")
_STARTLESS = re.compile(r"^(?:Fatal Python error: .*|Python runtime state: .*initialized)$", re.MULTILINE)


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a report without exception and signal, whose process left with a status."""
    ended = report["exit"]
    status, clean = ended["status"], ended["leftCleanly"]
    evidence = list(ended["evidence"])
    if status is None:
        return verdict("unknown", f"How it ended was not seen{meanwhile(report)}.", LOW, evidence)
    if clean is None and status == 1 and _is_python(report) and (told := _told_by_python(report, evidence)):
        return told
    evidence += _meaning(status)
    if status == _UNSETTLED and report["header"]["processName"] == "node":
        evidence.append(
            "By Node's convention status 13 says: what a module awaits is not settled, and nothing runs on."
        )
    if ended["call"]:
        return _called(report, evidence)
    how = ""
    if clean is False and status != 0:
        how = " without running its exit handlers (os._exit, or exit in C)"
        evidence.append("The black box is not marked as left cleanly.")
    evidence += _last_words(report)
    sentence = f"It ended itself with exit status {status}{how}{meanwhile(report)}."
    return verdict("exit", sentence, HIGH if clean is not None else MEDIUM, evidence)


def _meaning(status: int) -> list[str]:
    if status in _MEANINGS:
        return [f"By the shell's convention status {status} says: {_MEANINGS[status]}."]
    if 128 < status <= 128 + _HIGHEST_SIGNAL:
        return [f"By the shell's convention status {status} says: a child was ended by signal {status - 128}."]
    return []


def _called(report: Json, evidence: list[str]) -> dict[str, Any]:
    ended = report["exit"]
    frame = app_frame(telling_frames(report))
    where = f" in {place(frame)}" if frame else ""
    how = ", which runs no exit handlers" if ended["call"] == "os._exit" else ""
    said = f": {_short(ended['message'])}" if ended["message"] else ""
    evidence.append(f"The last {ended['call']} that it called had this status.")
    if not said:
        evidence += _last_words(report)
    sentence = f"It left by {ended['call']}({ended['status']}){where}{how}{meanwhile(report)}{said}."
    return verdict("exit", sentence, HIGH, evidence)


def _is_python(report: Json) -> bool:
    """By the kernel's name for it: a shell or `unshare` that started one has a name of its own, `env` becomes one."""
    return bool(_PYTHON.fullmatch(report["header"]["processName"]))


def _told_by_python(report: Json, evidence: list[str]) -> dict[str, Any] | None:
    """What a Python without probe said of its end; standard error may be shared, so it is not certain that it did."""
    tail = report["stderrTail"].rstrip("\n")
    found = list(_RAISED.finditer(tail))
    if found and found[-1].end() == len(tail):
        said = _short(found[-1]["said"])
        return verdict("exception", f"{said}.", MEDIUM, [*evidence, "Stderr ends with a traceback that says so."])
    startless = _STARTLESS.search(tail)
    if startless:
        said = _short(startless[0])
        sentence = f"Python could not start ({said})."
        return verdict("python-start", sentence, MEDIUM, [*evidence, f"On stderr stands: {said}"])
    return None


def _last_words(report: Json) -> list[str]:
    lines = [line for line in report["stderrTail"].splitlines() if line.strip()]
    if telling := [line for line in lines if _TELLING.match(line)]:
        return [f"On stderr stands: {_short(telling[-1])}"]
    return [f"The last line of stderr: {_short(lines[-1].strip())}"] if lines else []


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
