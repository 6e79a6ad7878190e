"""Seconds as an option takes them."""

from __future__ import annotations

import math

import click


class Seconds(click.FloatRange):
    """A number of seconds within a range; `nan` is in no range, though no comparison says so."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails beyond the limits."""
        found: float = super().convert(value, param, ctx)  # type: ignore[arg-type]  # click's own says float, and is given text
        if math.isnan(found):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return found
