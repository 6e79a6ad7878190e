"""From what a profiler wrote to the profile that is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.capture.profile import refine
from diag.capture.take import During
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made
from diag.model import now


def event(phase: str, name: str, seconds: float) -> dict[str, Any]:
    """What py-spy writes where a frame, or what names the thread, begins or ends."""
    arguments = {"filename": "/app/shop.py", "line": 7}
    return {"ph": phase, "name": name, "pid": 7, "tid": 7, "ts": seconds * 1e6, "args": arguments, "cat": "py-spy"}


@pytest.mark.parametrize(("told_s", "shown_s"), [(5.0, 8.0), (9.0, 9.0)], ids=["late", "in time"])
def test_a_late_profiler_is_said_to_have_looked_for_longer(told_s: float, shown_s: float, tmp_path: Path) -> None:
    """py-spy goes on until it has its samples: on a busy machine the last one is long after the end that was asked."""
    path = tmp_path / "trace"
    path.write_text(json.dumps([event("B", "work", 1), event("E", "work", 9)]))
    made = Made(path, "profile", "chrometrace", "application/json", 1e9)
    collected = Collected((made,), "py-spy 0.4", {"duration_s": told_s, "invalid": 0})

    refined = refine(collected, During(now(), now()), ProfileAsked(duration_s=5, mode="wall"))

    contents = {file.name: file.content for file in refined.files}
    summary = json.loads(contents["summary.json"])
    assert summary["recording"]["duration_s"] == shown_s
    assert f"800 samples in {shown_s:.1f} s" in " ".join(refined.facts)
