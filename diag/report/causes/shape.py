"""The shape of a verdict."""

from __future__ import annotations

from typing import Any, Literal

Confidence = Literal["high", "medium", "low"]
# fmt: off
Cause = Literal[
    "null-dereference", "null-call", "wild-pointer", "stack-overflow", "mapped-file-truncated", "misaligned",
    "bus-error", "fault", "divide-error", "floating-point", "illegal-instruction", "trap-instruction",
    "abort", "assertion", "heap-corruption", "stack-smashing", "cpp-exception", "python-fatal", "sent-signal",
    "exception", "missing-module", "missing-library", "missing-file", "no-permission", "syntax-error", "port-in-use",
    "connection-refused", "unknown-host", "broken-pipe", "disk-full", "file-too-large", "read-only", "too-many-files",
    "too-many-processes", "no-memory", "recursion", "oom", "cpu-limit", "killed", "stopped", "signal", "exit",
    "python-start", "heap-limit", "node-fatal", "panic", "concurrent-map", "worker-timeout", "hang",
    "blocked-event-loop", "slow-request", "deadlock", "alive", "unknown",
]
# fmt: on
HIGH: Confidence = "high"
MEDIUM: Confidence = "medium"
LOW: Confidence = "low"


def verdict(cause: Cause, sentence: str, confidence: Confidence, evidence: list[str]) -> dict[str, Any]:
    """`{cause, sentence, confidence, evidence}`; `cause` is a word for programs, the rest is for people."""
    return {"cause": cause, "sentence": sentence, "confidence": confidence, "evidence": evidence}
