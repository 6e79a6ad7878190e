"""What the page in a terminal says in a few words: of threads, frames, the machine."""

from __future__ import annotations

import re

from diag.report.reading import Json, app_frame, crashed_thread, duration, in_flight, place, size
from diag.report.standing import doing

_INSTALLED = re.compile(r"^.*/(?:(?:site|dist)-packages|lib(?:64)?/python[\d.]+|diag/probe|go(?:-[\d.]+)?/src)/")


def runtime(report: Json) -> str:
    """`python 3.11.7 · Linux 6.1 x64`."""
    header = report["header"]
    program = f"{header['release']['name']} {header['runtimeVersion']}".strip()
    system = f"{header['osName']} {header['osRelease']} {header['arch']}".strip()
    return " · ".join(part for part in (program, system) if part)


def thread_name(thread: Json) -> tuple[str, str]:
    """Its number, and beside it its name and what is noteworthy of it."""
    marks = ["crashed"] if thread["crashed"] else []
    marks += ["holds the GIL"] if thread["holdsGil"] else []
    marks += [doing(thread)] if doing(thread) and not thread["crashed"] else []
    words = [thread["name"] or "", *marks]
    return f"thread {thread['threadId']}", " · ".join(word for word in words if word)


def folded(thread: Json) -> str:
    """A thread in one line."""
    frame = app_frame(thread["frames"])
    words = [thread["name"] or "", doing(thread), "holds the GIL" if thread["holdsGil"] else ""]
    words.append(place(frame) if frame else "no stack")
    return " · ".join(word for word in words if word)


def by_reason(gaps: list[Json]) -> dict[str, list[str]]:
    """The sections that are missing, by why."""
    found: dict[str, list[str]] = {}
    for gap in gaps:
        found.setdefault(gap["reason"], []).append(gap["section"])
    return found


def work(worker: Json) -> str:
    """What one process of the instance does: its requests, else where its main thread is."""
    thread = crashed_thread(worker)
    frame = app_frame(thread["frames"]) if thread else None
    words = [in_flight(worker), place(frame) if frame else ""]
    rss = worker["resourceUsage"].get("rss")
    words.append(size(rss) if rss is not None else "")
    return " · ".join(word for word in words if word) or "nothing could be read"


def frame_place(frame: Json, working_directory: str) -> str:
    """Where a frame's code stands, as short as it tells: without the folders that it is installed or started in."""
    if not frame["file"]:
        return str(frame["module"] or "").rpartition("/")[2]
    file = _INSTALLED.sub("", frame["file"])
    if frame["language"] == "native":
        file = "/".join(file.split("/")[-2:])  # a path of the machine that compiled it
    elif working_directory not in ("", "/"):
        file = file.removeprefix(working_directory.rstrip("/") + "/")
    return f"{file}:{frame['line']}" if frame["line"] else file


def cgroup(group: Json) -> str:
    """Its path, its limits, and what they did."""
    memory, cpu = group.get("memory"), group.get("cpu")
    words = [str(group["path"])] if group.get("path") else []
    if isinstance(memory, dict) and memory.get("limit"):
        words.append(f"limit {size(memory['limit'])}")
    if isinstance(memory, dict) and memory.get("oomKills"):
        words.append(f"{memory['oomKills']} OOM kills")
    if isinstance(cpu, dict) and cpu.get("quotaCores"):
        words.append(f"{cpu['quotaCores']:g} cores")
    if isinstance(cpu, dict) and cpu.get("throttledSeconds"):
        words.append(f"throttled for {duration(cpu['throttledSeconds'])}")
    return " · ".join(words)
