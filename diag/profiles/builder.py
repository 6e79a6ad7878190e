"""Builds a profile sample by sample: equal frames, stacks and label sets become one, and hostile sizes are refused."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from diag.errors import BadProfile
from diag.profiles.model import NO_LABELS, NO_TIME, Frame, Label, Labels, Profile, SampleType, Stack

# Three or four times what the largest honest profile needs; a small file may describe far more than fits into memory.
MAX_DEPTH = 16_384
MAX_SAMPLES = 20_000_000
MAX_FRAMES_KEPT = 40_000_000
MAX_FRAMES_SEEN = 400_000_000


class Builder:
    """Tables and columns that grow. Every method raises BadProfile where a limit is passed."""

    def __init__(self, sample_types: Iterable[SampleType], *, timed: bool = False) -> None:
        self.sample_types = tuple(sample_types)
        self._frames: dict[Frame, int] = {}
        self._stacks: dict[Stack, int] = {}
        self._label_sets: dict[Labels, int] = {NO_LABELS: 0}
        self._stack_of = array("I")
        self._labels_of = array("I")
        self._values = tuple(array("q") for _ in self.sample_types)
        self._times = array("q") if timed else None
        self._kept = MAX_FRAMES_KEPT
        self._seen = MAX_FRAMES_SEEN

    def with_types(self, sample_types: Iterable[SampleType], *, timed: bool = False) -> Builder:
        """An empty builder with the same frames and label sets: for whoever learns the types from the samples."""
        builder = Builder(sample_types, timed=timed)
        builder._frames, builder._label_sets = self._frames, self._label_sets
        return builder

    def frame(self, frame: Frame) -> int:
        """The index of this frame."""
        return self._frames.setdefault(frame, len(self._frames))

    def stack(self, frames: Stack) -> int:
        """The index of this stack of frame indices, innermost first."""
        depth = len(frames)
        self._seen -= depth
        count = len(self._stacks)
        found = self._stacks.setdefault(frames, count)
        if found == count:
            self._kept -= depth
        if depth > MAX_DEPTH:
            raise BadProfile(f"A stack is {depth} frames deep; {MAX_DEPTH} are the limit.")
        if self._kept < 0 or self._seen < 0:
            raise BadProfile("The stacks of this profile are too many and too deep to be held in memory.")
        return found

    def labels(self, labels: Iterable[Label]) -> int:
        """The index of this label set. Labels without a value are left out."""
        kept = tuple(one for one in labels if one.value != "" and one.key)
        return self._label_sets.setdefault(kept, len(self._label_sets))

    def add(self, stack: int, values: Sequence[int], labels: int = 0, time_ns: int = NO_TIME) -> None:
        """One sample: a value for each sample type, and in a timed profile its moment."""
        self._stack_of.append(stack)
        self._labels_of.append(labels)
        for column, value in zip(self._values, values, strict=True):
            column.append(value)
        if self._times is not None:
            self._times.append(time_ns)
        if len(self._stack_of) > MAX_SAMPLES:
            raise BadProfile(f"This profile has more than {MAX_SAMPLES} samples.")

    def extend(
        self,
        stacks: Iterable[int],
        labels: Iterable[int],
        values: Sequence[Iterable[int]],
        times: Iterable[int] | None = None,
    ) -> None:
        """Many samples at once, in columns of the same length."""
        self._stack_of.extend(stacks)
        self._labels_of.extend(labels)
        for column, more in zip(self._values, values, strict=True):
            column.extend(more)
        if self._times is not None:
            missing = len(self._stack_of) - len(self._times)
            self._times.extend(times if times is not None else array("q", [NO_TIME]) * missing)
        if len(self._stack_of) > MAX_SAMPLES:
            raise BadProfile(f"This profile has more than {MAX_SAMPLES} samples.")

    def build(self, **header: Any) -> Profile:
        """The profile, with the fields of its header as `Profile` names them."""
        return Profile(
            sample_types=self.sample_types,
            frames=tuple(self._frames),
            stacks=tuple(self._stacks),
            label_sets=tuple(self._label_sets),
            stack_of=self._stack_of,
            labels_of=self._labels_of,
            values=self._values,
            times=self._times,
            **header,
        )
