"""The last minutes of a process on one axis: memory, CPU, requests and events, as numbers that a page draws.

Places are percent of the width, heights are in units of TALL. The report may be anybody's: every number is in its
range, every text and every list is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from diag.report import loose
from diag.report.reading import duration, size

LONGEST_S = 900.0
WIDE, TALL = 1000, 44
ROW = 18  # pixels
MOST_LANES = 8
MOST_REQUESTS, MOST_EVENTS, MOST_SAMPLES = 200, 100, 400
_LEAST = 0.006  # of the width: a shorter request can still be seen
_ROOMY = 0.12

Point = tuple[float, float]  # share of the width, value


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over time: a path in a picture of WIDE by TALL, the height of its limit, and what to say of it."""

    name: str
    said: str
    path: str
    limit_y: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A request. `state` is "done", "failed" or "open": in flight at the end."""

    x: float
    width: float
    row: int
    label: str
    said: str
    state: str
    roomy: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """An event at its moment."""

    x: float
    said: str


@dataclass(frozen=True, slots=True)
class TimelineView:
    """All of it. `rows` are the samples as a table has them: how long before the end, and what was measured."""

    died: bool
    span_s: float
    axis: tuple[str, ...]
    curves: tuple[Curve, ...]
    bars: tuple[Bar, ...]
    left_out: int
    ticks: tuple[Tick, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def bar_rows(self) -> int:
        """How many rows the requests take."""
        return max((bar.row for bar in self.bars), default=-1) + 1


def timeline_view(report: Mapping[str, Any]) -> TimelineView | None:
    """The picture; None where nothing is known of any time before the end."""
    end = loose.moment(loose.mapping(report.get("header")).get("dumpEventTime"))
    if end is None:
        return None
    samples = _timed(loose.mapping(report.get("timeline")).get("samples"), "time", end)
    group = _timed(loose.mapping(report.get("lastLook")).get("samples"), "time", end)
    recent = loose.mapping(report.get("recent"))
    requests = _timed(recent.get("requests"), "started", end) + _timed(report.get("requests"), "started", end)
    events = _timed(recent.get("events"), "time", end)
    moments = [moment for moment, _ in (*samples, *group, *requests, *events)]
    if not moments:
        return None
    span_s = max(0.001, (end - min(moments)).total_seconds())
    axis = _Axis(end, span_s)
    bars, left_out = _bars(requests, axis)
    curves = tuple(_curves(samples, group, report, axis))
    if not curves and not bars:
        return None
    died = loose.text(report.get("trigger"), 40) != "api"
    return TimelineView(
        died=died,
        span_s=span_s,
        axis=(*(f"−{duration(span_s * (4 - quarter) / 4)}" for quarter in range(4)), "the end" if died else "now"),
        curves=curves,
        bars=bars,
        left_out=left_out,
        ticks=tuple(_ticks(events, axis)),
        rows=tuple(_rows(samples, end)),
    )


_Timed = list[tuple[datetime, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Axis:
    end: datetime
    span_s: float

    def x(self, moment: datetime) -> float:
        """Its place, from 0 to 1."""
        return min(1.0, max(0.0, 1 - (self.end - moment).total_seconds() / self.span_s))


def _timed(value: Any, key: str, end: datetime) -> _Timed:
    """What has a time not long before the end, oldest first."""
    found = [(moment, one) for one in loose.mappings(value) if (moment := loose.moment(one.get(key)))]
    near = [one for one in found if end - timedelta(seconds=LONGEST_S) <= one[0] <= end]
    return sorted(near, key=lambda one: one[0])[-MOST_SAMPLES:]


def _curves(samples: _Timed, group: _Timed, report: Mapping[str, Any], axis: _Axis) -> Iterator[Curve]:
    limit = loose.number(loose.mapping(report.get("resourceUsage")).get("constrained_memory"))
    memory = _points(samples, "rss", axis)
    if len(memory) > 1:
        yield _curve("Memory", memory, size, limit)
    used = _points(group, "used", axis)
    if len(used) > 1:
        look_limit = loose.number(loose.mapping(report.get("lastLook")).get("limit"))
        yield _curve("Control group", used, size, look_limit)
    for name, key, scale, unit in (
        ("CPU", "cpuSeconds", 100.0, "% of a core"),
        ("Request rate", "requestsFinished", 1.0, "a second"),
    ):
        rates = _rates(samples, key, scale, axis)
        if len(rates) > 1 and (key == "cpuSeconds" or any(value for _, value in rates)):
            yield _curve(name, rates, lambda value, unit=unit: f"{_few(value)} {unit}", None)  # type: ignore[misc]


def _points(samples: _Timed, key: str, axis: _Axis) -> list[Point]:
    return [(axis.x(moment), max(0.0, value)) for moment, one in samples if (value := loose.number(one.get(key)))]


def _rates(samples: _Timed, key: str, scale: float, axis: _Axis) -> list[Point]:
    """What was counted between two samples, each second, as steps."""
    known = [(moment, value) for moment, one in samples if (value := loose.number(one.get(key))) is not None]
    points: list[Point] = []
    for (before, less), (moment, more) in pairwise(known):
        took_s = (moment - before).total_seconds()
        if took_s > 0:
            rate = max(0.0, more - less) / took_s * scale
            points += [(axis.x(before), rate), (axis.x(moment), rate)]
    return points


def _curve(name: str, points: Sequence[Point], shown: Callable[[float], str], limit: float | None) -> Curve:
    most = max(value for _, value in points)
    near = limit is not None and 0 < limit <= 3 * most
    top = max(most, limit if near and limit else 0.0) * 1.05 or 1.0
    places = [f"{x * WIDE:.1f} {TALL * (1 - value / top):.1f}" for x, value in points]
    path = f"M{points[0][0] * WIDE:.1f} {TALL}L{'L'.join(places)}L{points[-1][0] * WIDE:.1f} {TALL}Z"
    said = f"{shown(points[-1][1])} at last, {shown(most)} at most"
    said += f", limit {shown(limit)}" if limit is not None and name in ("Memory", "Control group") else ""
    return Curve(name, said, path, round(TALL * (1 - limit / top), 1) if near and limit else None)


def _bars(requests: _Timed, axis: _Axis) -> tuple[tuple[Bar, ...], int]:
    """Each in the first row where it has room; how many found none."""
    ends: list[float] = []
    found: list[Bar] = []
    shown = requests[-MOST_REQUESTS:]
    for moment, one in shown:
        took_s, status = loose.number(one.get("duration_s")), loose.number(one.get("status"))
        x = axis.x(moment)
        last = 1.0 if took_s is None else axis.x(moment + timedelta(seconds=min(max(0.0, took_s), LONGEST_S)))
        x = min(x, 1 - _LEAST)
        width = max(last - x, _LEAST)
        row = next((row for row, end in enumerate(ends) if end <= x), len(ends))
        if row == MOST_LANES:
            continue
        ends[row : row + 1] = [x + width]
        failed = status is None or status >= 500  # one that was broken off has no status
        state = "open" if took_s is None else "failed" if failed else "done"
        words = " ".join(filter(None, (loose.text(one.get("method"), 20), loose.text(one.get("path"), 200))))
        how = {"open": "in flight", "failed": "failed", "done": "done"}[state]
        told = [words or "request", loose.text(one.get("request_id"), 200), how]
        told += [] if took_s is None else [f"took {duration(took_s)}"]
        told += [f"status {status:.0f}"] if status is not None else [] if state == "open" else ["without a status"]
        label = ("✕ " if state == "failed" else "") + (words or "request")
        found.append(Bar(x * 100, width * 100, row, label, ", ".join(filter(None, told)), state, width >= _ROOMY))
    return tuple(found), len(requests) - len(found)


def _ticks(events: _Timed, axis: _Axis) -> Iterator[Tick]:
    for moment, one in events[-MOST_EVENTS:]:
        words = [loose.text(one.get(name), 500) for name in ("kind", "message")]
        before = f"{duration((axis.end - moment).total_seconds())} before"
        yield Tick(axis.x(moment) * 100, ": ".join(filter(None, words)) + f", {before}")


def _rows(samples: _Timed, end: datetime) -> Iterator[tuple[str, ...]]:
    previous: tuple[datetime, Mapping[str, Any]] | None = None
    for moment, one in samples:
        rss = loose.number(one.get("rss"))
        yield (
            duration((end - moment).total_seconds()),
            "" if rss is None else size(rss),
            _rate(previous, (moment, one), "cpuSeconds", 100.0, " %"),
            loose.text(one.get("threads"), 20),
            loose.text(one.get("openFiles"), 20),
            _rate(previous, (moment, one), "requestsFinished", 1.0, ""),
        )
        previous = moment, one


def _rate(
    before: tuple[datetime, Mapping[str, Any]] | None,
    after: tuple[datetime, Mapping[str, Any]],
    key: str,
    scale: float,
    unit: str,
) -> str:
    less = loose.number(before[1].get(key)) if before else None
    more = loose.number(after[1].get(key))
    took_s = (after[0] - before[0]).total_seconds() if before else 0.0
    return (
        "" if less is None or more is None or took_s <= 0 else f"{_few(max(0.0, more - less) / took_s * scale)}{unit}"
    )


def _few(value: float) -> str:
    """Two digits of it, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
