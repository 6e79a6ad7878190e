"""Verdicts on what Node says of its own death, and reports that stay whole whatever it says."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
from unit.report.factory import ended, evidence, made, native, raised

from diag.evidence import NodeSeen, Thread
from diag.report.size import SIZE_LIMIT, size_of

HEAP = {
    "usedMemory": 30 << 20,
    "memoryLimit": 68 << 20,
    "heapSpaces": {"new_space": {"used": 1}, "old_space": {"used": 20 << 20}},
}
OOM = NodeSeen("Allocation failed - JavaScript heap out of memory", "OOMError", 4, "20.20.2", heap=HEAP)


def _died(node: NodeSeen, **changes: Any) -> dict[str, Any]:
    frames = (native("node::OOMErrorHandler"),)
    threads = (Thread(4711, crashed=True, frames=frames),)
    return made(ended(signal=signal.SIGABRT, level="FULL", threads=threads, witness=None, node=node, **changes))


def test_a_full_heap_is_told_with_its_numbers() -> None:
    """In use, and the limit; the space that holds most."""
    verdict = _died(OOM)["verdict"]

    assert (verdict["cause"], verdict["confidence"]) == ("heap-limit", "high")
    assert "30 MiB in use, of at most 68 MiB" in verdict["sentence"]
    assert "Most of it lies in old_space: 20 MiB." in verdict["evidence"]


def test_full_heaps_of_two_services_are_two_stories() -> None:
    """Their native stacks are V8's own, and the same."""
    other = replace(evidence().instance, service="orders")

    assert _died(OOM)["fingerprint"] != _died(OOM, instance=other)["fingerprint"]
    assert _died(OOM)["fingerprint"] == _died(replace(OOM, heap={}))["fingerprint"]


def test_other_fatal_errors_are_named() -> None:
    """By Node's own words."""
    verdict = _died(replace(OOM, event="v8::ToLocalChecked Empty MaybeLocal", trigger="FatalError"))["verdict"]

    assert verdict["cause"] == "node-fatal"
    assert "Empty MaybeLocal" in verdict["sentence"]


def test_a_signal_of_somebody_else_is_not_explained_by_a_report() -> None:
    """A report stands there, and then SIGKILL came."""
    assert made(ended(signal=signal.SIGKILL, node=OOM))["verdict"]["cause"] == "killed"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("EADDRINUSE", "port-in-use"),
        ("ENOSPC", "disk-full"),
        ("ERR_MODULE_NOT_FOUND", "missing-module"),
        ("ENOTFOUND", "unknown-host"),
        ("ERR_ASSERTION", "exception"),
    ],
)
def test_codes_of_errors_have_their_causes(code: str, cause: str) -> None:
    """As the numbers of Python's OSError have."""
    report = made(raised("Error", "it failed", module=None, notes=(f"code: {code}",)))

    assert report["verdict"]["cause"] == cause


@pytest.mark.parametrize(
    "heap",
    [
        {"usedMemory": 10**400, "memoryLimit": -1},
        {"usedMemory": "a", "memoryLimit": None, "heapSpaces": [1]},
        {"usedMemory": float("nan"), "heapSpaces": {"x": 5, "y": {"used": "z"}}},
        {str(number): "x" * 8000 for number in range(2000)},
    ],
    ids=["numbers", "kinds", "not a number", "16 MB"],
)
def test_hostile_numbers_leave_the_verdict_without_them(heap: dict[str, Any]) -> None:
    """The report is whole, and within its size."""
    report = _died(replace(OOM, heap=heap, libuv=({"a": [[[[[[[[[[]]]]]]]]]]},) * 1000, event="x" * 100_000))

    assert report["verdict"]["sentence"] == "JavaScript's heap reached its limit."
    assert size_of(report) <= SIZE_LIMIT
