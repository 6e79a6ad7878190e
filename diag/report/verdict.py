"""Why the process died, in a sentence: rules over what was measured, each as sure as its evidence and no surer."""

from __future__ import annotations

from typing import Any

from diag.report.causes import exceptions, faults
from diag.report.causes.shape import HIGH, LOW, MEDIUM, verdict
from diag.report.reading import Json, app_frame, crashed_thread, in_flight, place, serving

# signal(7) and setrlimit(2): who sends these, when nobody else does.
_SIGNAL_MEANINGS = {
    "SIGXCPU": "it used more CPU time than its limit allows",
    "SIGXFSZ": "it wrote a file larger than its limit allows",
    "SIGSYS": "it made a system call that a seccomp filter forbids",
    "SIGPIPE": "it wrote to a pipe or socket that nobody reads",
    "SIGHUP": "its terminal or session ended, or it was told to reload and had no handler",
    "SIGALRM": "a timer ran out and it had no handler",
    "SIGTRAP": "it reached a breakpoint or trap instruction",
    "SIGQUIT": "it was asked to quit with a core dump",
}
_STATUS_MEANINGS = {126: "the command could not be executed", 127: "the command was not found"}
_NEARLY_FULL = 0.95


def judge(report: Json) -> dict[str, Any]:
    """`{cause, sentence, confidence, evidence}`: the first rule that applies; "unknown" where none does."""
    if report["trigger"] == "api":
        return _alive(report)
    if report["trigger"] == "oom" or (_oom_kills(report) and report["exit"]["signal"] == "SIGKILL"):
        return _out_of_memory(report)
    if report["trigger"] == "exception" and report["exception"] is not None:
        return exceptions.judge(report)
    if report["trigger"] == "hang":
        return _hang(report)
    if report["signal"] is not None:
        return _by_signal(report, report["signal"]["name"])
    if report["trigger"] == "signal" and report["level"] == "EVENT":
        return _asked(report, report["exit"]["asked"] or "a signal")
    if report["exception"] is not None:
        return exceptions.judge(report)
    return _exit(report)


def _oom_kills(report: Json) -> int:
    value = report["cgroup"].get("oom_kill_delta")
    return value if isinstance(value, int) else 0


def _memory(report: Json) -> tuple[int | None, int | None]:
    """(usage, limit) of the control group in bytes."""
    memory = report["cgroup"].get("memory")
    if not isinstance(memory, dict):
        return None, None
    usage, limit = memory.get("usage"), memory.get("limit")
    return usage if isinstance(usage, int) else None, limit if isinstance(limit, int) else None


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _out_of_memory(report: Json) -> dict[str, Any]:
    kills = _oom_kills(report)
    usage, limit = _memory(report)
    evidence = [f"The control group counted {kills} OOM kill{'s' if kills > 1 else ''} since this process started."]
    if limit is not None:
        used = f", {_mib(usage)} in use at the last look" if usage is not None else ""
        evidence.append(f"The control group's memory limit is {_mib(limit)}{used}.")
    bound = f" of its control group's limit of {_mib(limit)}" if limit is not None else ""
    sentence = f"The kernel's OOM killer ended it: out of memory{bound}{_meanwhile(report)}."
    if kills:
        return verdict("oom", sentence, HIGH, evidence)
    return verdict("oom", sentence, MEDIUM, ["It was recorded as an OOM kill; no counter was seen to rise."])


def _meanwhile(report: Json) -> str:
    """The request it died on where that is certain, else what was in flight."""
    named = serving(report)
    flying = in_flight(report)
    return named or (f", with {flying}" if flying else "")


def _by_signal(report: Json, name: str) -> dict[str, Any]:
    if name in ("SIGTERM", "SIGINT"):
        return _asked(report, name)
    if name == "SIGKILL":
        return _killed(report)
    if name in faults.RULES:
        return faults.judge(report)
    sentence = f"It was ended by {name}{_meanwhile(report)}"
    meaning = _SIGNAL_MEANINGS.get(name)
    if meaning is None:
        return verdict("signal", f"{sentence}.", MEDIUM, ["The wait status names the signal."])
    return verdict("signal", f"{sentence}: usually {meaning}.", MEDIUM, ["The wait status names the signal."])


def _asked(report: Json, name: str) -> dict[str, Any]:
    status = report["exit"]["status"]
    left = f" and left with exit status {status}" if status is not None else ""
    return verdict("stopped", f"It was asked to stop with {name}{left}{_meanwhile(report)}.", HIGH, _told(report))


def _killed(report: Json) -> dict[str, Any]:
    evidence = _told(report)
    usage, limit = _memory(report)
    if usage is not None and limit and usage >= limit * _NEARLY_FULL:
        evidence.append(
            f"Memory stood at {usage / limit:.0%} of the control group's limit, yet no OOM kill was counted."
        )
    elif "oom_kill_delta" in report["cgroup"]:
        evidence.append("The control group counted no OOM kill.")
    sentence = f"It was killed with SIGKILL, which leaves no trace of its sender{_meanwhile(report)}."
    return verdict("killed", sentence, MEDIUM, evidence)


def _exit(report: Json) -> dict[str, Any]:
    status, clean = report["exit"]["status"], report["exit"]["leftCleanly"]
    if status is None:
        return verdict("unknown", f"How it ended was not seen{_meanwhile(report)}.", LOW, _told(report))
    evidence = _told(report)
    if status in _STATUS_MEANINGS:
        evidence.append(f"By the shell's convention status {status} says: {_STATUS_MEANINGS[status]}.")
    elif status > 128:
        evidence.append(f"By the shell's convention status {status} says: a child was ended by signal {status - 128}.")
    how = ""
    if clean is False and status != 0:
        how = " without running its exit handlers (os._exit, or exit in C)"
        evidence.append("The black box is not marked as left cleanly.")
    sentence = f"It ended itself with exit status {status}{how}{_meanwhile(report)}."
    return verdict("exit", sentence, HIGH if clean is not None else MEDIUM, evidence)


def _told(report: Json) -> list[str]:
    return list(report["exit"]["evidence"])


def _hang(report: Json) -> dict[str, Any]:
    frame = app_frame(_frames(report))
    where = f" in {place(frame)}" if frame else ""
    return verdict("hang", f"It makes no progress{where}{_meanwhile(report)}.", MEDIUM, [])


def _alive(report: Json) -> dict[str, Any]:
    flying = in_flight(report, everywhere=True)
    if flying:
        return verdict("alive", f"It is alive, with {flying}.", HIGH, ["The black box lists the requests in flight."])
    if not any(gap["section"] == "requests" for gap in report["incomplete"]):
        return verdict("alive", "It is alive and serves no request.", HIGH, ["The black box lists no request."])
    frame = app_frame(_frames(report))
    where = f"; its main thread is in {place(frame)}" if frame else ""
    return verdict("alive", f"It is alive{where}.", HIGH, ["The process was read while it ran."])


def _frames(report: Json) -> list[Any]:
    thread = crashed_thread(report)
    return list(thread["frames"]) if thread else []
