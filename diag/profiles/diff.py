"""What is different between two profiles: as a profile that tools can draw, and as figures."""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from diag.errors import UsageError
from diag.profiles.model import Frame, Label, Profile
from diag.profiles.tables import Figures, Function, by_function, by_stack
from diag.profiles.transform import merge

BASE_LABEL = Label("pprof::base", "true")  # `go tool pprof -diff_base` marks the samples of the base like this
K = TypeVar("K", bound=Hashable)
NOTHING = Figures(0, 0)


@dataclass(frozen=True, slots=True)
class Change(Generic[K]):
    """One row: shares of the whole, from 0 to 1, before and after."""

    key: K
    own_before: float
    own_after: float
    total_before: float
    total_after: float

    @property
    def own(self) -> float:
        """How much the share of its own grew."""
        return self.own_after - self.own_before

    @property
    def total(self) -> float:
        """How much the share of it and what it calls grew."""
        return self.total_after - self.total_before


def difference(base: Profile, new: Profile, *, normalized: bool = True) -> Profile:
    """The new profile's samples, and the base's with negative values, as `go tool pprof -diff_base` makes it.

    `normalized` scales the base to the new one's totals, so that shares are compared and not how long was recorded.
    Raises UsageError where the two measure different things.
    """
    columns_of_both(base, new)
    scales = [_scale(base, new, index) if normalized else 1.0 for index in range(len(base.sample_types))]
    negative = replace(
        base,
        values=tuple(
            array("q", [-round(value * scale) for value in column])
            for column, scale in zip(base.values, scales, strict=True)
        ),
        label_sets=((), *((BASE_LABEL, *labels) for labels in base.label_sets)),
        labels_of=array("I", [tags + 1 for tags in base.labels_of]),
    )
    return replace(merge([new, negative]), start_ns=new.start_ns, duration_ns=new.duration_ns, recording=new.recording)


def functions(base: Profile, new: Profile, sample_type: str | None = None) -> list[Change[Function]]:
    """Every function that changed, the one whose own share grew most first. Raises UsageError."""
    before, after = columns_of_both(base, new, sample_type)
    return _changes(by_function(base, before), by_function(new, after), base.total(before), new.total(after))


def stacks(base: Profile, new: Profile, sample_type: str | None = None) -> list[Change[tuple[Frame, ...]]]:
    """Every stack that changed, innermost frame first, the one that grew most first. Raises UsageError."""
    before, after = columns_of_both(base, new, sample_type)
    return _changes(_whole(base, before), _whole(new, after), base.total(before), new.total(after))


def columns_of_both(base: Profile, new: Profile, sample_type: str | None = None) -> tuple[int, int]:
    """(column of the base, column of the new one) of what both measure. Raises UsageError where there is nothing."""
    after = new.column(sample_type)
    kind = new.sample_types[after]
    if kind not in base.sample_types:
        known = ", ".join(f"{one.name} in {one.unit}" for one in base.sample_types)
        raise UsageError(f"These profiles measure different things: {kind.name} in {kind.unit}, and {known}.")
    return base.sample_types.index(kind), after


def _whole(profile: Profile, column: int) -> dict[tuple[Frame, ...], Figures]:
    sums = by_stack(profile, column)
    return {
        tuple(map(profile.frames.__getitem__, stack)): Figures(value, value)
        for stack, value in zip(profile.stacks, sums, strict=True)
    }


def _changes(before: dict[K, Figures], after: dict[K, Figures], base: int, new: int) -> list[Change[K]]:
    rows = []
    for key in dict.fromkeys([*after, *before]):
        old, now = before.get(key, NOTHING), after.get(key, NOTHING)
        own = _share(old.own, base), _share(now.own, new)
        rows.append(Change(key, *own, _share(old.total, base), _share(now.total, new)))
    changed = [row for row in rows if row.own or row.total]
    return sorted(changed, key=lambda row: (-row.own, -row.total, str(row.key)))


def _share(value: int, whole: int) -> float:
    return value / whole if whole else 0.0


def _scale(base: Profile, new: Profile, index: int) -> float:
    kind = base.sample_types[index]
    whole = base.total(index)
    return new.total(new.sample_types.index(kind)) / whole if whole and kind in new.sample_types else 1.0
