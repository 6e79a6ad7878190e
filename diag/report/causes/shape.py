"""The shape of a verdict."""

from __future__ import annotations

from typing import Any, Literal

Confidence = Literal["high", "medium", "low"]
HIGH: Confidence = "high"
MEDIUM: Confidence = "medium"
LOW: Confidence = "low"


def verdict(cause: str, sentence: str, confidence: Confidence, evidence: list[str]) -> dict[str, Any]:
    """`{cause, sentence, confidence, evidence}`; `cause` is a word for programs, the rest is for people."""
    return {"cause": cause, "sentence": sentence, "confidence": confidence, "evidence": evidence}
