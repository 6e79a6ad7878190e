"""Why the process died, in a sentence: rules over what was measured, each as sure as its evidence and no surer."""

from __future__ import annotations

from typing import Any

from diag.report.causes import exceptions, exits, faults, node, timeouts
from diag.report.causes.shape import HIGH, MEDIUM, verdict
from diag.report.causes.timeouts import hung_before
from diag.report.deadlock import deadlocks, judged
from diag.report.last_look import growth, suspects
from diag.report.reading import Json, app_frame, crashed_thread, duration, in_flight, meanwhile, mib, place
from diag.report.standing import standing

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
_NEARLY_FULL = 0.95
_CPU_SLACK_S = 0.2  # what /proc tells is counted in ticks, the limit is not


def judge(report: Json) -> dict[str, Any]:
    """`{cause, sentence, confidence, evidence}`: the first rule that applies; "unknown" where none does."""
    if report["trigger"] == "api":
        return _alive(report)
    if report["hang"] is not None and report["exit"]["reason"] == "alive":
        return {key: report["hang"][key] for key in ("cause", "sentence", "confidence", "evidence")}
    if report["trigger"] == "oom" or (_oom_kills(report) and report["exit"]["signal"] == "SIGKILL"):
        return _out_of_memory(report)
    if report["trigger"] == "exception" and report["exception"] is not None:
        return exceptions.judge(report)
    if report["trigger"] == "hang":
        return _hang(report)
    if report["signal"] is not None:
        return node.judge(report) or _by_signal(report, report["signal"]["name"])
    if report["trigger"] == "signal" and report["level"] == "EVENT":
        return _asked(report, report["exit"]["asked"] or "a signal")
    if report["exception"] is not None:
        return exceptions.judge(report)
    return exits.judge(report)


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


def _out_of_memory(report: Json) -> dict[str, Any]:
    kills = _oom_kills(report)
    usage, limit = _memory(report)
    evidence = _told(report)
    if kills:
        times = f"{kills} OOM kill{'s' if kills > 1 else ''}"
        evidence.append(f"The control group counted {times} since this process started.")
    look = report["lastLook"]
    if limit is not None:
        used = f", {mib(usage)} in use when it was last measured" if usage is not None and look is None else ""
        evidence.append(f"The control group's memory limit is {mib(limit)}{used}.")
    if look is not None:
        evidence += [*growth(look), *suspects(look)]
        if report["threads"]:
            evidence.append("The stacks are of that moment, and not of the end.")
    bound = f" of its control group's limit of {mib(limit)}" if limit is not None else ""
    sentence = f"The kernel's OOM killer ended it: out of memory{bound}{meanwhile(report)}."
    return verdict("oom", sentence, HIGH, evidence)


def _by_signal(report: Json, name: str) -> dict[str, Any]:
    if name in ("SIGTERM", "SIGINT"):
        return _asked(report, name)
    if name in ("SIGKILL", "SIGXCPU") and (over := _over_cpu_limit(report, name)):
        return over
    if name == "SIGKILL":
        return _killed(report)
    if name in faults.RULES:
        return faults.judge(report)
    sender = report["exit"]["sender"]
    if sender:
        told = [*_told(report), "Its sender's probe said so before."]
        return verdict("signal", f"It was ended by {name}, sent by {sender}{meanwhile(report)}.", HIGH, told)
    sentence = f"It was ended by {name}{meanwhile(report)}"
    meaning = _SIGNAL_MEANINGS.get(name)
    if meaning is None:
        return verdict("signal", f"{sentence}.", MEDIUM, ["The wait status names the signal."])
    return verdict("signal", f"{sentence}: usually {meaning}.", MEDIUM, ["The wait status names the signal."])


def _asked(report: Json, name: str) -> dict[str, Any]:
    status = report["exit"]["status"]
    left = f" and left with exit status {status}" if status is not None else ""
    sender = f" by {report['exit']['sender']}" if report["exit"]["sender"] else ""
    return verdict(
        "stopped", f"It was asked to stop with {name}{sender}{left}{meanwhile(report)}.", HIGH, _told(report)
    )


def _over_cpu_limit(report: Json, name: str) -> dict[str, Any] | None:
    """setrlimit(2): SIGXCPU at the soft limit, which the kernel then raises by a second, SIGKILL at the hard one."""
    limits = report["userLimits"].get("cpu_time_seconds", {})
    limit = limits.get("hard" if name == "SIGKILL" else "soft")
    used = [report["resourceUsage"].get(key) for key in ("userCpuSeconds", "kernelCpuSeconds")]
    used_s = sum(part or 0.0 for part in used)
    if not isinstance(limit, int):
        return None
    limit -= name == "SIGXCPU"
    if used_s < limit * _NEARLY_FULL - _CPU_SLACK_S:
        return None
    evidence = [*_told(report), f"It had used {duration(used_s)} of CPU time; its limit (ulimit -t) is {limit} s."]
    sentence = f"The kernel ended it with {name}: it used more CPU time than its limit of {limit} s{meanwhile(report)}."
    return verdict("cpu-limit", sentence, HIGH if name == "SIGXCPU" else MEDIUM, evidence)


def _killed(report: Json) -> dict[str, Any]:
    evidence = _told(report)
    usage, limit = _memory(report)
    if usage is not None and limit and usage >= limit * _NEARLY_FULL:
        evidence.append(
            f"Memory stood at {usage / limit:.0%} of the control group's limit, yet no OOM kill was counted."
        )
    elif "oom_kill_delta" in report["cgroup"]:
        evidence.append("The control group counted no OOM kill.")
    evidence += hung_before(report)
    if sender := report["exit"]["sender"]:
        evidence.append("Its sender's probe said so before.")
        return verdict("killed", f"It was killed with SIGKILL by {sender}{meanwhile(report)}.", HIGH, evidence)
    sentence = f"It was killed with SIGKILL, which leaves no trace of its sender{meanwhile(report)}."
    return verdict("killed", sentence, MEDIUM, evidence)


def _told(report: Json) -> list[str]:
    return list(report["exit"]["evidence"])


def _hang(report: Json) -> dict[str, Any]:
    if report["exit"]["evidence"]:
        return timeouts.judge(report)
    frame = app_frame(_frames(report))
    where = f" in {place(frame)}" if frame else ""
    return verdict("hang", f"It makes no progress{where}{meanwhile(report)}.", MEDIUM, [])


def _alive(report: Json) -> dict[str, Any]:
    stuck = judged(deadlocks({**part, "pid": part["header"]["processId"]} for part in (report, *report["workers"])))
    if stuck:
        return stuck
    stand = standing(report["threads"])
    if stand and stand.total() == len(report["threads"]):
        return _stands(report, next(iter(stand)))
    flying = in_flight(report, everywhere=True)
    if flying:
        return verdict("alive", f"It is alive, with {flying}.", HIGH, ["The black box lists the requests in flight."])
    if not any(gap["section"] == "requests" for gap in report["incomplete"]):
        return verdict("alive", "It is alive and serves no request.", HIGH, ["The black box lists no request."])
    frame = app_frame(_frames(report))
    where = f"; its main thread is in {place(frame)}" if frame else ""
    return verdict("alive", f"It is alive{where}.", HIGH, ["The process was read while it ran."])


def _stands(report: Json, held: str) -> dict[str, Any]:
    frame = app_frame(_frames(report))
    where = f"; its main thread stands in {place(frame)}" if frame else ""
    evidence = [f"All its threads were {held} when it was read, and were left so."]
    return verdict("alive", f"It is {held} and does nothing{where}{meanwhile(report)}.", HIGH, evidence)


def _frames(report: Json) -> list[Any]:
    thread = crashed_thread(report)
    return list(thread["frames"]) if thread else []
