"""What a summary says in words: the line of lists, and three sentences."""

from __future__ import annotations

from typing import Any


def title(found: dict[str, Any]) -> str:
    """`62 % in b (busy.py)`, or how long it looked and saw nothing."""
    hottest = found["facts"]["hottest_in_app"] or found["facts"]["hottest"]
    if not hottest:
        return f"nothing ran in {found['recording']['duration_s']:.0f} s"
    return f"{percent(hottest['self_share'])} in {_named(hottest)}"


def facts(found: dict[str, Any]) -> tuple[str, ...]:
    """Where the time went, how it was taken, and what is missing of it."""
    told, taken = found["facts"], found["recording"]
    hottest, longest = told["hottest"], told["longest_in_app"]
    if not hottest:
        first = "No sample: nothing ran. `--mode wall` shows what waits."
    else:
        first = f"{percent(hottest['self_share'])} of the time in {_named(hottest)} itself"
        if longest and longest["function"] != hottest["function"]:
            first += f"; {percent(longest['total_share'])} below {_named(longest)}"
    threads = len(found["threads"])
    second = f"{found['samples']} samples in {taken['duration_s']:.1f} s of {threads} threads, {taken['sentence']}"
    lost = taken["lost"] + taken["invalid"]
    third = f"{lost} samples lost or invalid ({percent(taken['missing_share'])})"
    third += (
        f"; the target stood still for {taken['cost']['pause_s'] * 1000:.0f} ms" if taken["cost"]["pause_s"] else ""
    )
    return first, second, third


def percent(share: float) -> str:
    """A share as text: one digit after the point where it is small."""
    return f"{share * 100:.1f} %" if 0 < share < 0.095 else f"{share * 100:.0f} %"


def _named(function: dict[str, Any]) -> str:
    file = str(function["file"]).rpartition("/")[2]
    return f"{function['function']} ({file})" if file else str(function["function"])
