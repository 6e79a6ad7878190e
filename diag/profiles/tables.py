"""Flat and cumulative figures: by function, by module, by line, by label."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import compress
from typing import NamedTuple, TypeVar

from diag.profiles import places
from diag.profiles.model import Frame, Profile, label

K = TypeVar("K", bound=Hashable)


class Function(NamedTuple):
    """What counts as one function. `start_line` tells apart those without a name."""

    name: str
    file: str
    start_line: int = 0


class Line(NamedTuple):
    """One line of one function."""

    name: str
    file: str
    line: int


class Figures(NamedTuple):
    """`own`: of samples in which it is the innermost frame. `total`: of all in which it stands, however often."""

    own: int
    total: int


def function_of(frame: Frame) -> Function:
    """The function that the frame is in; one that has no name is known by its address.

    Where no source file is known, `file` is the program or library that it was mapped from.
    """
    name = frame.function or frame.system_name or (f"{frame.address:#x}" if frame.address else "?")
    file = frame.file or (frame.mapping.file if frame.mapping else "")
    return Function(name, file, 0 if frame.function else frame.start_line)


def line_of(frame: Frame) -> Line:
    """The line that the frame stands on."""
    return Line(function_of(frame).name, frame.file, frame.line)


def by_function(profile: Profile, column: int) -> dict[Function, Figures]:
    """Every function's figures."""
    return by_frame(profile, column, function_of)


def by_module(profile: Profile, column: int) -> dict[str, Figures]:
    """Every module's figures; a module that calls itself counts once in `total`."""
    return by_frame(profile, column, places.module)


def by_frame(profile: Profile, column: int, key: Callable[[Frame], K]) -> dict[K, Figures]:
    """The figures of whatever `key` makes of a frame."""
    numbers: dict[K, int] = {}
    number_of = [numbers.setdefault(key(frame), len(numbers)) for frame in profile.frames]
    own, total = [0] * len(numbers), [0] * len(numbers)
    sums = by_stack(profile, column)
    for stack, value in compress(zip(profile.stacks, sums, strict=True), sums):
        if stack:
            own[number_of[stack[0]]] += value
            for number in set(map(number_of.__getitem__, stack)):
                total[number] += value
    return {one: Figures(own[number], total[number]) for one, number in numbers.items()}


def by_stack(profile: Profile, column: int) -> list[int]:
    """The sum of the values of each stack."""
    sums = [0] * len(profile.stacks)
    for stack, value in zip(profile.stack_of, profile.values[column], strict=True):
        sums[stack] += value
    return sums


def by_label(profile: Profile, column: int, *keys: str) -> dict[tuple[str | int | None, ...], int]:
    """The sum of the values for each combination of what these labels say; None where a sample has no such label."""
    sums = [0] * len(profile.label_sets)
    for tags, value in zip(profile.labels_of, profile.values[column], strict=True):
        sums[tags] += value
    found: dict[tuple[str | int | None, ...], int] = {}
    for labels, value in zip(profile.label_sets, sums, strict=True):
        if value:
            key = tuple(label(labels, one) for one in keys)
            found[key] = found.get(key, 0) + value
    return found


def top(figures: dict[K, Figures], count: int, *, by_total: bool = False) -> list[tuple[K, Figures]]:
    """The largest, by their own or by their total value; equal ones by name."""
    place = 1 if by_total else 0
    rows = [(key, one) for key, one in figures.items() if one[place]]
    return sorted(rows, key=lambda row: (-abs(row[1][place]), -abs(row[1][1 - place]), str(row[0])))[:count]
