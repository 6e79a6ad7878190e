"""The table at the end, and how each failure is repeated alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from durability.trial import Outcome, Trial

COLUMNS = ("family", "trials", "lost", "duplicated", "uncounted", "broken", "not met")
_SHOWN = 4


@dataclass(slots=True)
class Row:
    """One family's figures."""

    trials: int = 0
    lost: int = 0
    doubled: int = 0
    uncounted: int = 0
    broken: int = 0
    not_met: int = 0  # the fault found nothing to hit: the trial counts, and says little

    def add(self, outcome: Outcome) -> None:
        """Count one more trial."""
        self.trials += 1
        self.lost += len(outcome.lost)
        self.doubled += len(outcome.doubled)
        self.uncounted += len(outcome.uncounted)
        self.broken += len(outcome.broken)
        self.not_met += not outcome.hit

    def cells(self) -> list[int]:
        """The figures in the order of the columns."""
        return [self.trials, self.lost, self.doubled, self.uncounted, self.broken, self.not_met]


@dataclass(slots=True)
class Summary:
    """Everything that a campaign found."""

    rows: dict[str, Row] = field(default_factory=dict)
    failures: list[tuple[Trial, list[str]]] = field(default_factory=list)

    def add(self, trial: Trial, outcome: Outcome) -> None:
        """Take in what a trial found."""
        self.rows.setdefault(trial.family, Row()).add(outcome)
        if wrong := outcome.sentences():
            self.failures.append((trial, wrong))

    def table(self) -> str:
        """One line a family, and the sum."""
        rows: list[Sequence[object]] = [[name, *row.cells()] for name, row in self.rows.items()]
        sums = [sum(column) for column in zip(*(row.cells() for row in self.rows.values()), strict=True)]
        return _aligned([COLUMNS, *rows, ["all", *sums]])

    def repeats(self) -> Iterable[str]:
        """For each failure what is wrong, and the command that repeats it alone."""
        for trial, wrong in self.failures:
            yield f"make durability ARGS=\"--seed {trial.seed} --trial '{trial.full_name}'\""
            yield from (f"    {sentence}" for sentence in wrong[:_SHOWN])
            if len(wrong) > _SHOWN:
                yield f"    … and {len(wrong) - _SHOWN} more"


def _aligned(rows: Sequence[Sequence[object]]) -> str:
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for first, *rest in rows:
        cells = [f"{cell!s:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first!s:<{widths[0]}}", *cells]))
    return "\n".join(lines)
