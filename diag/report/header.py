"""The report's `header`, in the vocabulary of Node's version 5."""

from __future__ import annotations

import sys
from typing import Any

from diag import __version__
from diag.evidence import Evidence
from diag.model import stamp
from diag.report.host import Host
from diag.report.values import Gaps, Scrub, encodable, signal_name

REPORT_VERSION = 5
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64", "i686": "ia32", "armv7l": "arm"}
_TRIGGERS = {
    "exception": ("exception", "Exception"),
    "exit": ("exit", "Exit"),
    "oom": ("out of memory", "FatalError"),
    "hang": ("hang", "Hang"),
    "api": ("diag report", "GetReport"),
    "rule": ("rule", "Rule"),
}


def file_name(evidence: Evidence, sequence: int = 1) -> str:
    """Node's `report.YYYYMMDD.HHMMSS.PID.TID.SEQ.json`; the time is UTC, TID is 0 for the main thread."""
    moment = f"{evidence.time:%Y%m%d.%H%M%S}"
    return f"report.{moment}.{evidence.instance.pid}.{_thread_id(evidence)}.{sequence:03d}.json"


def header(evidence: Evidence, scrub: Scrub, host: Host, gaps: Gaps) -> dict[str, Any]:
    """Node's header with `runtimeVersion` and `pythonVersion` in the place of `nodejsVersion`, and its name."""
    event, trigger = _event(evidence)
    runtime, version = _runtime(evidence)
    return {
        "reportVersion": REPORT_VERSION,
        "event": event,
        "trigger": trigger,
        "filename": file_name(evidence),
        "dumpEventTime": stamp(evidence.time),
        "dumpEventTimeStamp": str(int(evidence.time.timestamp() * 1000)),
        "processId": evidence.instance.pid,
        "threadId": _thread_id(evidence),
        "cwd": scrub.text(_working_directory(evidence, gaps)),
        "commandLine": scrub.argv(_command(evidence, gaps)),
        "processName": scrub.text(evidence.process.name, 64) if evidence.process else "",
        "runtimeVersion": version,
        "pythonVersion": version if runtime == "python" else "",
        "wordSize": 64 if sys.maxsize > 2**32 else 32,
        "arch": _ARCHITECTURES.get(host.os_machine, host.os_machine),
        "platform": sys.platform,
        "componentVersions": {"diag": __version__} | ({runtime: version} if runtime and version else {}),
        "release": {"name": runtime},
        "osName": host.os_name,
        "osRelease": host.os_release,
        "osVersion": host.os_version,
        "osMachine": host.os_machine,
        "cpus": host.cpus,
        "networkInterfaces": host.network_interfaces,
        "host": encodable(evidence.instance.host),
    }


def _event(evidence: Evidence) -> tuple[str, str]:
    if evidence.trigger != "signal":
        return _TRIGGERS[evidence.trigger]
    number = evidence.fault.signal if evidence.fault else (evidence.ended.signal if evidence.ended else None)
    # Node calls a report that a signal asked for "Signal"; a signal that ends the process is its "FatalError".
    return signal_name(number) if number else "signal", "Signal" if evidence.level == "EVENT" else "FatalError"


def _thread_id(evidence: Evidence) -> int:
    crashed = next((thread.thread_id for thread in evidence.threads if thread.crashed), None)
    if crashed is None and evidence.fault is not None:
        crashed = evidence.fault.thread_id
    return 0 if crashed is None or crashed == evidence.instance.pid else crashed


def _runtime(evidence: Evidence) -> tuple[str, str]:
    """("python", "3.11.7") from "python 3.11.7"; what the process itself said speaks first."""
    name, _, version = evidence.instance.runtime.partition(" ")
    told = evidence.witness.runtime if evidence.witness else {}
    if told.get("version"):
        return "python", encodable(str(told["version"]).split()[0])
    return name.lower(), version


def _command(evidence: Evidence, gaps: Gaps) -> list[str]:
    if evidence.process is not None and evidence.process.command:
        return list(evidence.process.command)
    told = evidence.witness.runtime if evidence.witness else {}
    argv = [str(word) for word in told.get("argv") or ()]
    if argv:
        return argv
    gaps.add("header.commandLine", "the process was gone before its command line could be read")
    return []


def _working_directory(evidence: Evidence, gaps: Gaps) -> str:
    if evidence.process is not None and evidence.process.working_directory:
        return evidence.process.working_directory
    gaps.add("header.cwd", "the working directory could not be read")
    return ""
