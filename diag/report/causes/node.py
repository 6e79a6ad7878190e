"""Verdicts on the deaths that Node itself reports: a full heap, other fatal errors, an abort; and its errors' codes."""

from __future__ import annotations

import errno
import re
from typing import Any

from diag.report.causes.shape import HIGH, MEDIUM, verdict
from diag.report.reading import Json, app_frame, meanwhile, place, telling_frames

REJECTED = "By Node's native stack it was an unhandled rejection: a promise was rejected, and nobody handled that."
_OLD_SPACE = re.compile(r"--max[-_]old[-_]space[-_]size=(\d{1,9})")


def judge(report: Json) -> dict[str, Any] | None:
    """The verdict where Node ended by a signal of its own; None where it said nothing, or the signal is another."""
    node, signal = report.get("node"), report["signal"]
    if signal["name"] not in ("SIGABRT", "SIGTRAP", "SIGILL") or not node:
        return None
    if node["trigger"] == "OOMError" or "heap out of memory" in node["event"]:
        return _heap(report, node)
    if node["trigger"] == "FatalError":
        evidence = ["Node's own report names the error."]
        return verdict("node-fatal", f"Node gave up: {node['event']}{meanwhile(report)}.", HIGH, evidence)
    if node["trigger"] == "Abort":
        frame = app_frame(telling_frames(report))
        where = f" in {place(frame)}" if frame else ""
        evidence = ["Node printed its JavaScript stack on stderr, as it does before it aborts."]
        return verdict("abort", f"It aborted itself{where}{meanwhile(report)}.", MEDIUM, evidence)
    return None


def _heap(report: Json, node: Json) -> dict[str, Any]:
    heap = node["javascriptHeap"]
    used, limit = _mib(heap.get("usedMemory")), _mib(heap.get("memoryLimit"))
    asked = [found[1] for word in report["header"]["commandLine"] if (found := _OLD_SPACE.fullmatch(word))]
    evidence = [f"Node's own report says: {node['event']}."]
    evidence += _largest_space(heap)
    if limit:
        evidence.append(f"Old and young generation together may have {limit}.")
    allowed = f"where --max-old-space-size allows {asked[-1]} MiB" if asked else f"of at most {limit}" if limit else ""
    numbers = f": {used} in use, {allowed}" if used and allowed else ""
    return verdict("heap-limit", f"JavaScript's heap reached its limit{numbers}{meanwhile(report)}.", HIGH, evidence)


def _largest_space(heap: Json) -> list[str]:
    spaces = heap.get("heapSpaces")
    named = spaces.items() if isinstance(spaces, dict) else ()
    used = [(space["used"], name) for name, space in named if isinstance(space, dict) and _mib(space.get("used"))]
    return [f"Most of it lies in {name}: {_mib(size)}." for size, name in [max(used)]] if used else []


def _mib(size: Any) -> str:
    """Empty for what is no size."""
    return f"{size / 2**20:,.0f} MiB" if isinstance(size, int) and 0 <= size < 2**63 else ""


def code(exception: Json) -> str | None:
    """The `code` of a Node error, such as ENOENT or MODULE_NOT_FOUND."""
    notes = exception.get("notes", ())
    return next((note.removeprefix("code: ") for note in notes if note.startswith("code: ")), None)


def number(exception: Json) -> int | None:
    """The errno that the code names."""
    found = getattr(errno, code(exception) or "", None)
    return found if isinstance(found, int) else None
