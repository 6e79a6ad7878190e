"""The top of the tree of calls, for a small picture: of one profile, or of two beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diag.profiles import places
from diag.profiles.model import Profile, Stack
from diag.profiles.tables import Function, by_stack, function_of

DEEPEST = 40
LEAST_SHARE = 0.004
MOST_CELLS = 1200


@dataclass(frozen=True, slots=True)
class Cell:
    """A function called along one way, from `start` to `start + width` of the whole; the outermost have depth 0.

    `shares` has one share of the whole for each profile. The width is their mean: so children fit into their parent.
    """

    depth: int
    start: float
    width: float
    function: Function
    in_app: bool
    shares: tuple[float, ...]


class _Row(NamedTuple):
    """A stack of the profile at `place`, its value as a share of the whole, and what function each frame is in."""

    place: int
    share: float
    stack: Stack
    functions: list[Function]


def cells(
    profiles: Sequence[tuple[Profile, int]], least_share: float = LEAST_SHARE, most: int = MOST_CELLS
) -> list[Cell]:
    """What is wide enough to be seen, level by level, of profiles and the column of each that counts.

    Siblings stand in the order of their names, so that two pictures can be compared. Negative values are left out.
    """
    own = {function_of(frame): places.in_app(frame) for profile, _ in profiles for frame in profile.frames}
    rows = [row for place, one in enumerate(profiles) for row in _rows(place, *one)]
    found: list[Cell] = []
    level = [(0.0, rows)]
    for depth in range(DEEPEST):
        below = []
        for start, function, shares, inside in _split(level, depth, len(profiles)):
            width = sum(shares) / len(shares)
            if width >= least_share:
                found.append(Cell(depth, start, width, function, own[function], shares))
                below.append((start, inside))
        level = below
        if len(found) >= most:
            break
    return found[:most]


def _rows(place: int, profile: Profile, column: int) -> Iterator[_Row]:
    functions = [function_of(frame) for frame in profile.frames]
    sums = by_stack(profile, column)
    whole = sum(value for value in sums if value > 0)
    for stack, value in zip(profile.stacks, sums, strict=True):
        if value > 0:
            yield _Row(place, value / whole, stack, functions)


def _split(
    level: list[tuple[float, list[_Row]]], depth: int, count: int
) -> Iterator[tuple[float, Function, tuple[float, ...], list[_Row]]]:
    """(start, function, shares, rows) of everything that is called at this depth."""
    for start, rows in level:
        groups: dict[Function, list[_Row]] = {}
        for row in rows:
            if len(row.stack) > depth:
                groups.setdefault(row.functions[row.stack[-1 - depth]], []).append(row)
        for function in sorted(groups):
            shares = [0.0] * count
            for row in groups[function]:
                shares[row.place] += row.share
            yield start, function, tuple(shares), groups[function]
            start += sum(shares) / count
