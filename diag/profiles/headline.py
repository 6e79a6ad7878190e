"""What a summary says in words: the line of lists, and three sentences."""

from __future__ import annotations

from typing import Any

WORTH_NAMING = 0.1  # with less, what is hottest of the application's own is not where the time went
RUNNING_ONLY = ("perf", "go")  # engines that know nothing of what waits


def title(found: dict[str, Any]) -> str:
    """`62 % in b (busy.py)`, or how long it looked and saw nothing."""
    own, hottest = found["facts"]["hottest_in_app"], found["facts"]["hottest"]
    if own and own["self_share"] >= WORTH_NAMING:
        hottest = own
    if not hottest:
        return f"nothing {'in use' if _of_memory(found) else 'ran'} in {found['recording']['duration_s']:.0f} s"
    return f"{percent(hottest['self_share'])} in {_named(hottest)}"


def facts(found: dict[str, Any]) -> tuple[str, ...]:
    """Where the time went, how it was taken, and what is missing of it."""
    told, taken = found["facts"], found["recording"]
    hottest, longest = told["hottest"], told["longest_in_app"]
    measured = "memory" if _of_memory(found) else "time"
    if not hottest and measured == "memory":
        first = "Nothing that was allocated meanwhile is in use."
    elif not hottest:
        first = "No sample: nothing ran."
        first += "" if taken["engine"] in RUNNING_ONLY else " `--mode wall` shows what waits."
    else:
        first = f"{percent(hottest['self_share'])} of the {measured} in {_named(hottest)} itself"
        if longest and longest["function"] != hottest["function"]:
            first += f"; {percent(longest['total_share'])} below {_named(longest)}"
    seen, threads = counted(found["samples"], "sample"), counted(found["thread_count"], "thread")
    second = ", ".join(filter(None, (f"{seen} in {taken['duration_s']:.1f} s of {threads}", taken["sentence"])))
    lost = counted(taken["lost"] + taken["invalid"], "sample")
    third = f"{lost} lost or invalid ({percent(taken['missing_share'])})"
    third += (
        f"; the target stood still for {taken['cost']['pause_s'] * 1000:.0f} ms" if taken["cost"]["pause_s"] else ""
    )
    return first, second, third


def _of_memory(found: dict[str, Any]) -> bool:
    return bool(found["sample_type"]["unit"] == "bytes")


def counted(number: int, thing: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share as text: one digit after the point where it is small."""
    return f"{share * 100:.1f} %" if 0 < share < 0.095 else f"{share * 100:.0f} %"


def _named(function: dict[str, Any]) -> str:
    file = str(function["file"]).rpartition("/")[2]
    return f"{function['function']} ({file})" if file else str(function["function"])
