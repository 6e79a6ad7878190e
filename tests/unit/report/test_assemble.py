"""The report as a whole: Node's vocabulary, every key always there, nothing secret, nothing too large."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from reports import validate
from unit.report.factory import (
    APP,
    GAP,
    HOST,
    MOMENT,
    PID,
    crashed,
    ended,
    evidence,
    made,
    maps_of_this_process,
    native,
    process,
    python_frame,
    raised,
    request,
    stack,
    witness,
)

from diag.capture.reports import encode
from diag.evidence import Evidence, ExceptionSeen, Thread, Witness
from diag.redact import Redactor
from diag.report.assemble import assemble, file_name
from diag.report.elf import build_id
from diag.report.size import SIZE_LIMIT, fit, size_of

# What `process.report.getReport()` has in version 5 of the format, and of which type.
NODE = {
    "header": {
        "reportVersion": int, "event": str, "trigger": str, "filename": str, "dumpEventTime": str,
        "dumpEventTimeStamp": str, "processId": int, "threadId": int, "cwd": str, "commandLine": list, "wordSize": int,
        "arch": str, "platform": str, "componentVersions": dict, "release": dict, "osName": str, "osRelease": str,
        "osVersion": str, "osMachine": str, "cpus": list, "networkInterfaces": list, "host": str,
    },
    "resourceUsage": {
        "free_memory": int, "total_memory": int, "rss": int, "constrained_memory": int, "available_memory": int,
        "userCpuSeconds": float, "kernelCpuSeconds": float, "cpuConsumptionPercent": float,
        "userCpuConsumptionPercent": float, "kernelCpuConsumptionPercent": float, "maxRss": int,
    },
}  # fmt: skip
SECTIONS = """header nativeStack resourceUsage workers environmentVariables userLimits sharedObjects pythonStack
pythonHeap asyncio exit threads exception signal cgroup lastLook hang links requests recent stderrTail timeline verdict
fingerprint incomplete redactions cost captureId instance modules level trigger""".split()  # noqa: SIM905

CASES = {
    "live": evidence(),
    "nothing known": evidence(process=None, witness=None, threads=(), stderr_tail=None),
    "empty black box": evidence(witness=Witness()),
    "exception": raised(cause=ExceptionSeen("OSError", "builtins", "[Errno 28] No space", stack("save"))),
    "group": raised("ExceptionGroup", exceptions=(ExceptionSeen("ValueError", None, "x"),), notes=("a note",)),
    "segfault": crashed(11, address=0, trapno=14, registers={"rip": 0x7F0000001234, "rsp": 0x7FFC00000000}),
    "real-time signal": ended(signal=40),
    "killed": ended(signal=9),
    "exit": ended(7),
    "event": ended(signal=15, level="EVENT"),
    "children": evidence(children=(evidence(), crashed(6))),
}


@pytest.mark.parametrize("case", CASES)
def test_every_report_is_whole_and_valid(case: str) -> None:
    """Whatever was seen, all sections are there, the schema is kept, and verdict and fingerprint are made."""
    report = made(CASES[case])
    assert sorted(report) == sorted(SECTIONS)
    assert report["verdict"]["sentence"].endswith(".")


@pytest.mark.parametrize("section", NODE)
def test_the_vocabulary_is_nodes(section: str) -> None:
    """Header and resource usage have Node's keys with Node's types."""
    report = made(evidence())
    wrong = {
        key: report[section].get(key)
        for key, kind in NODE[section].items()
        if type(report[section].get(key)) is not kind
    }
    assert not wrong


def test_times_carry_their_zone() -> None:
    """The event's time has an offset, and its timestamp is the same moment in milliseconds, as text."""
    header = made(evidence())["header"]
    assert header["dumpEventTime"] == "2026-03-04T05:06:07.891+00:00"
    assert header["dumpEventTimeStamp"] == "1772600767891"


def test_files_are_named_as_nodes_are() -> None:
    """report.YYYYMMDD.HHMMSS.PID.TID.SEQ.json, with 0 for the main thread as in Node."""
    assert file_name(evidence()) == "report.20260304.050607.4711.0.001.json"
    in_thread = replace(crashed(11), threads=(Thread(4999, crashed=True, frames=stack()),))
    assert file_name(in_thread, 12) == "report.20260304.050607.4711.4999.012.json"


def test_resource_usage_has_nodes_units() -> None:
    """Bytes, seconds, percent of one core, blocks of 512 bytes, and the cgroup's limit as the constraint."""
    usage = made(evidence())["resourceUsage"]
    assert usage["rss"] == 50 << 20
    assert usage["maxRss"] == 60 << 20
    assert usage["constrained_memory"] == 256 << 20
    assert usage["available_memory"] == 206 << 20
    assert usage["cpuConsumptionPercent"] == 2.5
    assert usage["fsActivity"] == {"reads": 8, "writes": 2}
    assert usage["pageFaults"] == {"IORequired": 3, "IONotRequired": 1000}


def test_a_limit_that_is_none_constrains_nothing() -> None:
    """Without a memory limit there is no constraint, and the machine's free memory is available."""
    for memory in ({}, {"limit": None}, {"limit": (1 << 63) - 4096}):
        usage = made(evidence(process=process(cgroup={"memory": memory})))["resourceUsage"]
        assert (usage["constrained_memory"], usage["available_memory"]) == (None, HOST.free_memory)


def test_limits_have_nodes_names() -> None:
    """Soft and hard limits, a number or "unlimited"; what the kernel did not say is absent."""
    assert made(evidence())["userLimits"] == {
        "core_file_size_blocks": {"soft": 0, "hard": "unlimited"},
        "cpu_time_seconds": {"soft": "unlimited", "hard": "unlimited"},
        "open_files": {"soft": 1024, "hard": 20000},
    }


def test_modules_have_build_ids_and_places() -> None:
    """Each mapped code file stands there once with its build id and range; sharedObjects are their paths."""
    maps = maps_of_this_process()
    report = made(evidence(process=process(maps=maps)))
    libc = next(m for m in report["modules"] if "libc.so" in m["path"])
    assert libc["buildId"] == build_id(libc["path"])
    assert int(libc["base"], 16) == min(m.start for m in maps if m.path == libc["path"])
    assert int(libc["end"], 16) == max(m.end for m in maps if m.path == libc["path"])
    assert libc["path"] in report["sharedObjects"]
    assert len(set(report["sharedObjects"])) == len(report["sharedObjects"])
    assert "linux-vdso.so.1" in report["sharedObjects"]


def test_what_is_missing_is_said_once_with_the_first_reason() -> None:
    """An empty section has an entry in `incomplete`; the collector's own reason is kept."""
    report = made(ended(signal=9, incomplete=(GAP,), witness=None, process=None, stderr_tail=None))
    reasons = {entry["section"]: entry["reason"] for entry in report["incomplete"]}
    assert reasons["threads"] == "the process was gone"
    empty = (
        "pythonStack nativeStack resourceUsage userLimits cgroup modules recent requests pythonHeap asyncio stderrTail"
    )
    assert {*empty.split(), "environmentVariables", "header.commandLine"} <= set(reasons)
    assert len(reasons) == len(report["incomplete"])


def test_no_secret_leaves() -> None:
    """A password is nowhere: argv, environment, events, messages, locals, URLs, stderr, labels, children."""
    secret = "hunter2"
    frame = python_frame("login", locals={"password": secret, "url": f"http://bob:{secret}@db/"})
    seen = raised(
        "ValueError", f"bad password={secret}", frames=(frame,), notes=(f"api_key={secret}",),
        stderr_tail=f"x\nAuthorization: Bearer {secret}{secret}\n",
        witness=witness(in_flight=(request(f"/login?token={secret}"),)), threads=(Thread(PID, frames=(frame,)),),
    )  # fmt: skip
    seen = replace(seen, instance=replace(seen.instance, labels={"db_password": secret}), children=(evidence(),))
    report = made(seen)
    assert secret not in json.dumps(report)
    assert {entry["rule"] for entry in report["redactions"]} >= {"secret", "environment"}
    assert report["environmentVariables"] == {"PATH": "/usr/bin", "LANG": "C.UTF-8"}


def test_requests_in_flight_and_recent() -> None:
    """Requests keep their ids, and say how long ago they began."""
    report = made(evidence())
    flying = report["requests"][0]
    assert (flying["request_id"], flying["trace_id"], flying["span_id"]) == ("7f3a", "4bf9", "00f0")
    assert (flying["age_s"], flying["duration_s"], flying["status"]) == (3.2, None, None)
    assert report["recent"]["requests"][0]["status"] == 200
    assert report["recent"]["events"][0]["kind"] == "request"


def test_children_are_reports() -> None:
    """Each other process of the instance is a report of its own in `workers`."""
    report = made(evidence(children=(evidence(), crashed(6))))
    assert [worker["header"]["event"] for worker in report["workers"]] == ["diag report", "SIGABRT"]
    for worker in report["workers"]:
        validate(worker)


def test_the_heap_is_what_the_black_box_holds() -> None:
    """Facts of the garbage collector come through; values that JSON cannot say do not break it."""
    heap = {"gcEnabled": True, "allocatedBlocks": 5, "gcCounts": (1, 2, 3), "odd": float("nan"), "raw": b"\xff"}
    assert made(evidence(witness=witness(heap=heap)))["pythonHeap"] == {
        "gcEnabled": True, "allocatedBlocks": 5, "gcCounts": [1, 2, 3], "odd": None, "raw": "b'\\xff'",
    }  # fmt: skip


def test_a_stuck_process_still_has_an_exit_that_says_so() -> None:
    """A live process has not ended; a frozen one is on its way; a gone one has its status."""
    assert made(evidence())["exit"]["reason"] == "alive"
    assert made(crashed(11))["exit"] | {"evidence": []} == {
        "status": None, "signal": "SIGSEGV", "asked": None, "reason": "killed by SIGSEGV", "evidence": [],
        "coreDumped": False, "leftCleanly": False, "call": None, "message": "", "sender": None,
    }  # fmt: skip
    assert made(ended(7))["exit"]["status"] == 7
    assert made(raised())["exit"]["reason"] == "uncaught exception"


def test_names_that_are_no_text_survive() -> None:
    """Bytes that were not UTF-8 in a path, an argument or a message are escaped, not fatal."""
    odd = "caf\udce9"
    report = made(
        raised(message=odd, process=process(command=(odd,), working_directory=odd, environment={"PATH": odd}))
    )
    assert json.dumps(report, ensure_ascii=False).encode()
    assert report["header"]["commandLine"] == ["caf\\udce9"]


def huge() -> Evidence:
    """More of everything than anybody wants to read."""
    frame = python_frame("f" * 300, locals={f"v{n}": "x" * 1000 for n in range(20)})
    threads = tuple(Thread(PID + n, f"t{n}", crashed=n == 7, frames=(frame,) * 400) for n in range(1200))
    return replace(crashed(11), threads=threads, stderr_tail="€" * 500_000, children=(evidence(),) * 300)


def test_a_report_has_a_limit() -> None:
    """However much there is, the report is valid, below its limit, the crashing thread first, and says what is cut."""
    report = made(huge())
    assert len(encode(report)) <= SIZE_LIMIT
    assert report["threads"][0]["crashed"]
    assert len(report["threads"][0]["frames"]) == 200
    assert report["threads"][0]["framesCut"] == 200
    sections = [entry["section"] for entry in report["incomplete"]]
    assert {"threads", "threads.frames", "workers"} <= set(sections)


def test_even_the_core_fits() -> None:
    """The last cut leaves a valid report of a few hundred kilobytes."""
    report = made(raised(frames=stack() * 100, cause=ExceptionSeen("E", None, "m" * 9000, stack() * 100)))
    cut = fit(report, limit=1)
    validate(cut)
    assert size_of(cut) < 100_000
    assert cut["verdict"]["cause"] == "exception"


def test_deep_chains_end() -> None:
    """A chain of a thousand exceptions is bounded."""
    seen: ExceptionSeen | None = None
    for number in range(300):
        seen = ExceptionSeen("E", None, str(number), (), cause=seen)
    report = made(replace(raised(), exception=seen))
    depth, link = 0, report["exception"]
    while link:
        depth, link = depth + 1, link.get("cause")
    assert depth == 21


def test_the_machine_is_looked_at_when_nobody_tells() -> None:
    """Without given facts the header describes this machine, with no name server asked."""
    report = validate(assemble(evidence(), Redactor()))
    assert report["header"]["osName"] == "Linux"
    assert report["header"]["cpus"]
    loopback = next(entry for entry in report["header"]["networkInterfaces"] if entry["address"] == "127.0.0.1")
    assert loopback["internal"]
    assert loopback["netmask"] == "255.0.0.0"


def test_the_python_stack_reads_like_nodes() -> None:
    """`pythonStack` has a message, lines to read, and the frames they stand for, innermost first."""
    told: dict[str, Any] = made(raised())["pythonStack"]
    assert told["message"] == "KeyError: 'sku'"
    assert told["stack"][0] == f"at view ({APP}:20)"
    assert len(told["stack"]) == len(told["frames"]) == 4


def test_native_frames_of_the_dying_thread_are_the_native_stack() -> None:
    """`nativeStack` has Node's pc and symbol."""
    report = made(crashed(11, (native("boom", "/lib/x.so", 0x7F00DEADBEEF), *stack())))
    assert report["nativeStack"] == [{"pc": "0x00007f00deadbeef", "symbol": "boom [/lib/x.so]"}]


def test_a_clock_that_jumped_breaks_nothing() -> None:
    """A request from the future and a process younger than nothing give numbers, not errors."""
    later = MOMENT + timedelta(hours=1)
    report = made(evidence(process=process(start_time=later), witness=witness(in_flight=(request(started=later),))))
    assert report["requests"][0]["age_s"] == -3600
    assert re.fullmatch(r"It is alive.*", report["verdict"]["sentence"])
