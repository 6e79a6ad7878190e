"""What can be asked of the collectors of a kind, with its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_S = 3600
FASTEST_HZ = 1000
RECORDED_S = 30

Mode = Literal["cpu", "wall", "gil"]


@dataclass(frozen=True, slots=True)
class ProfileAsked:
    """A profile: for how long, how often a second, and of what.

    `cpu` are threads that run, `wall` all threads whether they run or wait, `gil` those that hold the GIL.
    """

    duration_s: int = 10
    rate_hz: int = 100
    mode: Mode = "cpu"
    native: bool = False
    subprocesses: bool = False


@dataclass(frozen=True, slots=True)
class MemoryAsked:
    """Memory: for how long, and with `snapshot` the whole heap of a Node.

    Where nothing is said, what records does so for `RECORDED_S`, and what counts looks once. `snapshot` stops Node.
    """

    duration_s: int | None = None
    snapshot: bool = False

    @property
    def recorded_s(self) -> int:
        """For how long a recording goes on."""
        return RECORDED_S if self.duration_s is None else self.duration_s

    @property
    def apart_s(self) -> int:
        """How far two looks are apart; 0 is one look."""
        return self.duration_s or 0


@dataclass(frozen=True, slots=True)
class ExecAsked:
    """A command beside a process: the first of `commands` that is there.

    With `tty` it gets a terminal. With `host_tools` it is a program of this machine; where `host_tools` is None that
    is so if the instance has none of them. 0 seconds are no limit; `idle_timeout_s` counts while nothing is written or
    typed.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    tty: bool = False
    host_tools: bool | None = False
    timeout_s: float = 0.0
    idle_timeout_s: float = 0.0


SMALLEST_BYTES, LARGEST_BYTES = 64 << 10, 1 << 30
SMALLEST_SNAPLEN, LARGEST_SNAPLEN = 64, 262_144


@dataclass(frozen=True, slots=True)
class PacketsAsked:
    """Packets: for how long, how many bytes of file, how much of each packet, and which.

    `ring` goes on when the file is full and keeps the last ones. `own` narrows it to the sockets that the instance has
    when it begins. `apart` are addresses and ports of ours, which are left out.
    """

    duration_s: float = 30.0
    max_bytes: int = 64 << 20
    snaplen: int = 1600
    ring: bool = False
    own: bool = False
    filter: tuple[str, ...] = ()
    apart: tuple[tuple[str, int], ...] = ()


MOST_LOOKS = 100
SHORTEST_EVERY_S, LONGEST_EVERY_S = 0.05, 600.0


@dataclass(frozen=True, slots=True)
class StacksAsked:
    """Stacks: how deep, how often in a row, and how far apart.

    `others` are the other processes of the instance; `tasks` asks the probe for asyncio tasks, None where it is there.
    """

    native: bool = False
    locals: bool = False
    tasks: bool | None = None
    looks: int = 1
    every_s: float = 1.0
    others: tuple[int, ...] = ()
