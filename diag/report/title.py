"""The one line by which lists show a report."""

from __future__ import annotations

from diag.report.reading import Json, app_frame, crashed_thread, native_frame, place, summary, telling_frames

_REQUESTED_STOP = ("SIGTERM", "SIGINT")


def title(report: Json) -> str:
    """`SIGSEGV in view (app.py:20)`, `KeyError: 'sku' in view (app.py:31)`, `killed by SIGKILL`, `exit status 7`, …"""
    if report["trigger"] == "api":
        return "live report"
    exception, signal = report["exception"], report["signal"]
    if report.get("hang") and report["exit"]["reason"] == "alive":
        return _hang(report["hang"])
    if exception is not None and report["trigger"] == "exception":
        return summary(exception) + _where(report)
    if report["trigger"] == "oom":
        return "out of memory, killed by SIGKILL"
    if report["verdict"]["cause"] == "heap-limit":
        return "JavaScript heap out of memory"
    if report["verdict"]["cause"] == "worker-timeout":
        return "worker time-out" + _where(report)
    if report["trigger"] == "hang":
        return "hang" + _where(report)
    if signal is not None:
        return _signal(report, signal["name"])
    if report["exit"]["asked"]:
        return f"stopped by {report['exit']['asked']}, exit status {report['exit']['status']}"
    if report["exit"]["call"]:
        return f"{report['exit']['call']}({report['exit']['status']})" + _where(report)
    if report["exit"]["status"] is not None:
        return f"exit status {report['exit']['status']}"
    return summary(exception) + _where(report) if exception is not None else str(report["exit"]["reason"])


def _hang(hang: Json) -> str:
    if hang["cause"] == "stopped":
        return f"stopped by {hang['signal']}" if hang["signal"] else "stopped"
    words = {"blocked-event-loop": "event loop blocked", "slow-request": "slow request"}
    return words.get(hang["cause"], str(hang["cause"])) + (f" in {hang['where']}" if hang["where"] else "")


def _signal(report: Json, name: str) -> str:
    if name in _REQUESTED_STOP:
        return f"stopped by {name}"
    thread = crashed_thread(report)
    if thread is None or not thread["crashed"]:
        return f"killed by {name}"
    return name + _where(report)


def _where(report: Json) -> str:
    frames = telling_frames(report)
    frame = app_frame(frames)
    if frame is not None and frame["language"] == "native" and not frame["inApp"]:
        frame = native_frame(frames) or frame  # abort() tells less than who called it
    return f" in {place(frame)}" if frame else ""
