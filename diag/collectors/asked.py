"""What can be asked of the collectors of a kind, with its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_S = 3600.0
FASTEST_HZ = 1000

Mode = Literal["cpu", "wall", "gil"]


@dataclass(frozen=True, slots=True)
class ProfileAsked:
    """A profile: for how long, how often a second, and of what.

    `cpu` are threads that run, `wall` all threads whether they run or wait, `gil` those that hold the GIL.
    """

    duration_s: float = 10.0
    rate_hz: int = 100
    mode: Mode = "cpu"
    native: bool = False
    subprocesses: bool = False
