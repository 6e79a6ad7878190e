"""Two captures beside each other, as their page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from diag.model import Capture
from diag.profiles.diff import Change
from diag.report import diff, healthy
from diag_server import hostile, pictures
from diag_server.follow import read_report
from diag_server.profile_page import amount
from diag_server.state import viewer
from diag_server.well import DEATHS

ROWS = 40


class Named(NamedTuple):
    """A function, as a row shows it."""

    name: str
    place: str
    in_app: bool


def profiles(a: Capture, b: Capture) -> dict[str, Any]:
    """What the page of two profiles needs. Raises CannotDraw, TooLarge, and what the store raises."""
    told = viewer().workshop.facts("diff", a, b)
    changes = [_change(one) for one in hostile.mappings(told.get("functions"))]
    kind = hostile.mapping(told.get("sample_type"))
    unit = hostile.text(kind.get("unit"), 40)
    return {
        "by_self": sorted((one for one in changes if one.own), key=lambda one: -abs(one.own))[:ROWS],
        "by_total": sorted((one for one in changes if one.total), key=lambda one: -abs(one.total))[:ROWS],
        "changed": hostile.whole(told.get("changed")) or 0,
        "icicle": pictures.icicle(told.get("cells")),
        "measures": hostile.text(kind.get("name"), 40),
        "totals": [amount(one, unit) for one in hostile.items(told.get("totals"))[:2]],
    }


def reports(a: Capture, b: Capture) -> dict[str, Any]:
    """What the page of two reports needs. Raises BadReport, TooLarge, and what the store raises."""
    before, after = _report(a), _report(b)
    sections: dict[str, list[diff.Difference]] = {}
    for one in diff.differences(before, after):
        sections.setdefault(one.section, []).append(one)
    since = healthy.changed(before, after)[:ROWS] if healthy.is_healthy(a) and b.kind in DEATHS else None
    return {"sections": sections, "since_healthy": since}


def _report(capture: Capture) -> Mapping[str, Any]:
    return read_report(viewer().store, viewer().config, capture)


def _change(one: Mapping[str, Any]) -> Change[Named]:
    key = hostile.mapping(one.get("key"))
    shares = [
        hostile.finite(one.get(name)) or 0.0 for name in ("own_before", "own_after", "total_before", "total_after")
    ]
    names = hostile.text(key.get("name"), 500), hostile.text(key.get("file"), 1000)
    return Change(Named(*names, one.get("in_app") is True), *shares)
