"""The timeline: the last minutes of a process, in the report and as a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from unit.report.factory import MOMENT, crashed, evidence, made, request, witness

from diag.evidence import Sample
from diag.report.timeline_html import timeline_html
from diag.report.timeline_view import timeline_view


def samples(count: int, step_s: float = 5.0) -> tuple[Sample, ...]:
    """So many samples until the moment of the end; memory grows by a MiB each."""
    return tuple(
        Sample(MOMENT - timedelta(seconds=(count - 1 - n) * step_s), (50 + n) << 20, n * 2.5, 4, 17, n * 10)
        for n in range(count)
    )


def report(**changes: Any) -> dict[str, Any]:
    """A segfault's report with ten minutes before it."""
    return made(replace(crashed(11, address=0, trapno=14), samples=samples(120), **changes))


def test_what_is_older_is_coarser() -> None:
    """The last two minutes are whole, before that every twentieth second: ten minutes take few samples."""
    found = report()["timeline"]["samples"]
    assert len(found) == 25 + 24
    assert found[-1]["rss"] == 169 << 20
    assert made(evidence())["timeline"] == {"samples": []}


def test_the_curves_say_what_was_at_last_and_at_most() -> None:
    """Memory, CPU as a share of a core, and requests a second, between two samples."""
    view = timeline_view(report())
    assert view is not None
    said = {curve.name: curve.said for curve in view.curves}
    assert said["Memory"] == "169 MiB at last, 169 MiB at most, limit 256 MiB"
    assert said["CPU"].startswith("50 % of a core at last")
    assert said["Request rate"].startswith("2 a second at last")
    assert view.axis[-1] == "the end" and view.axis[0].startswith("−9 min")


def test_requests_are_bars_and_failed_ones_are_marked() -> None:
    """A request in flight reaches the end; one that failed has a mark, not a colour alone."""
    failed = request("/pay", started=MOMENT - timedelta(seconds=300), duration_s=200.0, status=500)
    view = timeline_view(report(witness=witness(finished=(failed,))))
    assert view is not None
    states = {bar.state: bar for bar in view.bars}
    assert states["failed"].label.startswith("✕ GET /pay") and "status 500" in states["failed"].said
    assert round(states["open"].x + states["open"].width) == 100
    assert len(view.ticks) == 1


def test_requests_at_the_same_time_stand_below_each_other() -> None:
    """No bar covers another; what finds no room is counted."""
    many = tuple(
        request(f"/{n}", started=MOMENT - timedelta(seconds=60), duration_s=50.0, status=200) for n in range(20)
    )
    view = timeline_view(report(witness=witness(finished=many, in_flight=())))
    assert view is not None
    assert sorted(bar.row for bar in view.bars) == list(range(8))
    assert view.left_out == 12


def test_nothing_known_draws_nothing() -> None:
    """A process that died at once has no last minutes."""
    assert timeline_view(made(evidence(witness=None))) is None
    assert timeline_view({}) is None


def test_hostile_values_neither_break_nor_reach_the_page() -> None:
    """Somebody else's report: no markup, no absurd number, no endless list."""
    whole = report()
    bad = "</svg><script>alert(1)</script>"
    whole["recent"]["requests"] = [
        {"started": MOMENT.isoformat(), "method": bad, "path": bad, "duration_s": 1e308, "status": bad}
    ]
    whole["recent"]["events"] = [{"time": MOMENT.isoformat(), "kind": bad, "message": [bad]}, "x"] * 5000
    whole["timeline"]["samples"] += [{"time": MOMENT.isoformat(), "rss": 10**400, "cpuSeconds": "nan"}, 7] * 1000
    view = timeline_view(json.loads(json.dumps(whole)))
    assert view is not None
    text = timeline_html(view)
    assert "<script" not in text and "nan" not in text and len(text) < 200_000
    for key in ("timeline", "recent", "requests", "lastLook", "header", "resourceUsage"):
        for value in (None, [], 7, "x", {"samples": 7}, [[]]):
            timeline_view({**whole, key: value})
