"""The table: kind, what is wanted, and what each Python left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby

from faults.fault import NEWEST, OLDEST, Fault
from faults.trial import Outcome

_KIND, _LEFT, _CELL = 66, 40, 12


def head(versions: Collection[str]) -> str:
    """The first line."""
    return f"{'kind':{_KIND}} {'wanted':{_LEFT}} " + " ".join(f"{version:{_CELL}}" for version in versions)


def row(fault: Fault, outcomes: Mapping[str, Outcome], versions: Collection[str], *, joined: bool) -> str:
    """One kind: levels and causes wanted, and for each Python the exit status and the levels got."""
    cells = " ".join(f"{_cell(outcomes.get(version)):{_CELL}}" for version in versions)
    return f"{fault.full_name:{_KIND}} {wanted(fault, joined=joined):{_LEFT}} {cells}"


def wanted(fault: Fault, *, joined: bool = False) -> str:
    """`FULL exception`, `2 NATIVE abort`, or `nothing`."""
    counted = Counter(f"{left.level} {left.cause}" for left in fault.wanted(joined=joined))
    words = [f"{count} {what}" if count > 1 else what for what, count in counted.items()]
    return ", ".join([*words, *(["sampled"] if fault.sampled else [])]) or "nothing"


def differences(fault: Fault, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """What is wrong, a line each."""
    for version, outcome in outcomes.items():
        for sentence in outcome.wrong:
            yield f"{fault.full_name}, {version}: {sentence}"


def page(faults: Iterable[Fault]) -> str:
    """The catalogue as docs/faults.md shows it: a table a family."""
    lines: list[str] = []
    for family, kinds in groupby(faults, key=lambda fault: fault.family):
        lines += ["", f"### {family.capitalize()}", "", "| what happens | what is left |", "| --- | --- |"]
        lines += [f"| {_plain(fault.name)}{_versions(fault)} | {wanted(fault)} |" for fault in kinds]
    return "\n".join(lines[1:]) + "\n"


def _plain(name: str) -> str:
    return f"`{name}`" if "_" in name else name  # Markdown has a use for it


def _versions(fault: Fault) -> str:
    if fault.since != OLDEST:
        return f" (from {fault.since})"
    return f" (to {fault.until})" if fault.until != NEWEST else ""


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "-"
    levels = "+".join(sorted({record.level for record in outcome.got})) or "nothing"
    return f"{'!' if outcome.wrong else ''}{outcome.status} {levels}"
