"""Small pictures without scripts: rows of boxes and lines of bars, as numbers that a template makes SVG of.

Places are percent of the picture's width, so that it fits any window; the page's policy allows no inline style, and
attributes of SVG are none. What is drawn comes from profiles: every text is bounded, every number is in its range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diag_server import hostile

ROW = 18  # pixels
MOST_CELLS, MOST_ROWS = 1200, 44
MOST_THREADS, MOST_BUCKETS, MOST_REQUESTS, MOST_LANES = 16, 240, 200, 12
BAR = 26
ROOMY = 0.02
# From this difference on a box is coloured, in shares of the whole; and from this one on more so.
SOME, MUCH = 0.002, 0.03


@dataclass(frozen=True, slots=True)
class Box:
    """A function, called along one way: where it stands, and its share of the whole in each profile."""

    x: str
    width: str
    y: int
    name: str
    file: str
    in_app: bool
    shares: tuple[float, ...]
    roomy: bool  # whether a part of its name can be read inside

    @property
    def change(self) -> float:
        """How much its share grew from the first profile to the last."""
        return self.shares[-1] - self.shares[0]

    @property
    def kind(self) -> str:
        """How it is drawn: by what changed where there are two profiles, or by whose code it is."""
        if len(self.shares) == 1:
            return "app" if self.in_app else "library"
        size = "much" if abs(self.change) >= MUCH else "some"
        return "same" if abs(self.change) < SOME else f"{'grew' if self.change > 0 else 'shrank'} {size}"


@dataclass(frozen=True, slots=True)
class Icicle:
    """Boxes, the outermost function at the top."""

    boxes: list[Box]
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """A thread and its bars: a path in a picture that is `Timeline.buckets` wide and `BAR` high."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A request on a thread, while it was seen."""

    request_id: str
    thread: str
    x: str
    width: str
    y: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bars by thread, and requests above them."""

    seconds: list[str]
    buckets: int
    lines: list[Line]
    requests: list[Stretch]
    requests_height: int
    threads_left_out: int
    requests_left_out: int


def icicle(value: Any) -> Icicle | None:
    """The picture of `profile_work`'s cells; None where there are none."""
    boxes = [box for cell in hostile.items(value)[:MOST_CELLS] if (box := _box(cell))]
    return Icicle(boxes, max(box.y for box in boxes) + ROW) if boxes else None


def timeline(value: Any) -> Timeline | None:
    """The picture of `profile_work`'s timeline; None where no moments are known."""
    told = hostile.mapping(value)
    threads = [
        (_thread(one[0]), _counts(one[1])) for one in hostile.items(told.get("threads"))[:MOST_THREADS] if _pair(one)
    ]
    highest = max((max(counts, default=0) for _, counts in threads), default=0)
    if not highest:
        return None
    requests = _stretches(told)
    start, end = ((hostile.finite(told.get(name)) or 0.0) for name in ("start_s", "end_s"))
    return Timeline(
        seconds=[f"{start + (end - start) * quarter / 4:.3g} s" for quarter in range(5)],
        buckets=max(len(counts) for _, counts in threads),
        lines=[Line(name, _path(counts, highest)) for name, counts in threads],
        requests=requests,
        requests_height=max((one.y for one in requests), default=-ROW) + ROW,
        threads_left_out=hostile.whole(told.get("threads_left_out")) or 0,
        requests_left_out=hostile.whole(told.get("requests_left_out")) or 0,
    )


def _box(cell: Any) -> Box | None:
    if not isinstance(cell, list) or len(cell) != 7:
        return None
    depth, start, width, name, file, in_app, shares = cell
    row = hostile.whole(depth)
    if row is None or not 0 <= row < MOST_ROWS:
        return None
    found = tuple(_share(one) for one in hostile.items(shares)[:2]) or (0.0,)
    texts = hostile.text(name, 300) or "?", hostile.text(file, 500)
    return Box(_percent(start), _percent(width), row * ROW, *texts, in_app is True, found, _share(width) >= ROOMY)


def _stretches(told: Mapping[str, Any]) -> list[Stretch]:
    """Each in the first lane where it has room."""
    ends: list[float] = []
    found = []
    for one in hostile.items(told.get("requests"))[:MOST_REQUESTS]:
        if not isinstance(one, list) or len(one) != 4:
            continue
        first, last = _share(one[2]), _share(one[3])
        width = max(last - first, 0.006)
        lane = next((lane for lane, end in enumerate(ends) if end <= first), len(ends))
        if lane == MOST_LANES:
            continue
        ends[lane : lane + 1] = [first + width]
        place = _percent(first), _percent(width), lane * ROW
        found.append(Stretch(hostile.text(one[0], 500), _thread(one[1]), *place))
    return found


def _path(counts: list[float], highest: float) -> str:
    """One bar for each bucket; a value that is not zero is seen."""
    heights = [max(1, round(BAR * (count / highest))) if count > 0 else 0 for count in counts]
    return "".join(f"M{at} {BAR}v-{height}h1v{height}z" for at, height in enumerate(heights) if height)


def _thread(value: Any) -> str:
    pid, thread_id, name = [hostile.text(one, 100) for one in [*hostile.items(value)[:3], None, None, None][:3]]
    return " ".join(part for part in (name, thread_id, f"pid {pid}" if pid else "") if part) or "all threads"


def _counts(value: Any) -> list[float]:
    return [hostile.finite(one) or 0.0 for one in hostile.items(value)[:MOST_BUCKETS]]


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _share(value: Any) -> float:
    return max(0.0, min(1.0, hostile.finite(value) or 0.0))


def _percent(value: Any) -> str:
    return f"{_share(value) * 100:.3f}%"
