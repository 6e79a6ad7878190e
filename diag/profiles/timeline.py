"""What frames that open and close say in samples: one for each stretch in which a thread's stack did not change."""

from __future__ import annotations

from diag.errors import BadProfile
from diag.profiles.builder import MAX_DEPTH, Builder


class Timeline:
    """The open frames of one thread. Moments are nanoseconds, and may not go back."""

    def __init__(self, builder: Builder, labels: int, column: int = 0) -> None:
        self._builder = builder
        self.labels = labels
        self._column = column
        self._open: list[int] = []
        self._since = 0

    def open(self, frame: int, at: int) -> None:
        """A frame is entered."""
        self._advance(at)
        self._open.append(frame)
        if len(self._open) > MAX_DEPTH:
            raise BadProfile(f"More than {MAX_DEPTH} frames are open at once.")

    def close(self, at: int) -> None:
        """The innermost frame is left."""
        self._advance(at)
        if not self._open:
            raise BadProfile("A frame is left that was not entered.")
        self._open.pop()

    def _advance(self, at: int) -> None:
        if at < self._since and self._open:
            raise BadProfile(f"Time goes back, from {self._since} to {at} ns.")
        if at > self._since and self._open:
            values = [0] * len(self._builder.sample_types)
            values[self._column] = at - self._since
            stack = self._builder.stack(tuple(reversed(self._open)))
            self._builder.add(stack, values, self.labels, self._since)
        self._since = at
