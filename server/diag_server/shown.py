"""How values look on a page: times, sizes, addresses, links. Filters and functions of the templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from flask import Flask, g, request, url_for
from markupsafe import Markup

from diag import __version__
from diag.model import Capture, now, parse_stamp
from diag_server import hostile
from diag_server.access import csrf_token
from diag_server.index.rows import Filter
from diag_server.state import viewer

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
SPANS = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (60 * 2, 60, "min"), (0, 1, "s"))
ARGUMENTS = (*(field.name for field in fields(Filter)), "limit", "cursor")
LEVELS = {
    "FULL": "Everything: exceptions, stacks of all threads, requests",
    "NATIVE": "A native crash, read while the process stood frozen",
    "OUTSIDE": "Seen from outside only: how it ended and what was known before",
    "EVENT": "Noteworthy, no crash",
}


def ago(moment: datetime, at: datetime) -> str:
    """How long ago, in one unit."""
    passed = int((at - moment).total_seconds())
    if passed < 0:
        return "in the future" if passed < -5 else "now"
    if passed < 2:
        return "now"
    return next(f"{passed // unit} {name} ago" for least, unit, name in SPANS if passed >= least)


def when(value: Any) -> Markup:
    """A time, relative, with the exact one on hover; what is no time is shown as it is."""
    moment = _moment(value)
    if moment is None:
        return Markup("{}").format(value or "")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), exactly(value), ago(moment, now())
    )


def exactly(value: Any) -> str:
    """A time to the millisecond, UTC."""
    moment = _moment(value)
    if moment is None:
        return str(value or "")
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


def _moment(value: Any) -> datetime | None:
    try:
        return parse_stamp(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def size(value: Any) -> str:
    """A number of bytes in the unit that reads best."""
    if not isinstance(value, int | float):
        return str(value if value is not None else "")
    amount, unit = float(value), 0
    while abs(amount) >= 1024 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{int(amount)} B" if unit == 0 else f"{amount:.1f} {UNITS[unit]}"


def seconds(value: Any) -> str:
    """A duration in the unit that reads best."""
    if not isinstance(value, int | float):
        return str(value if value is not None else "")
    if abs(value) < 0.001:
        return f"{value * 1e6:.0f} µs" if value else "0 s"
    if abs(value) < 1:
        return f"{value * 1e3:.1f} ms".replace(".0 ", " ")
    if abs(value) < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if abs(value) < 7200 else f"{value / 3600:.1f} h"


def percent(share: float) -> str:
    """A share as text: one digit after the point where it is small."""
    value = share * 100
    return f"{value:.1f} %" if 0 < abs(value) < 9.95 else f"{value:.0f} %"


def points(change: float) -> str:
    """A change of a share, in points of a hundred: its direction as a sign too, because colour alone says nothing."""
    value = round(change * 100, 1)
    return f"{'▲ +' if value > 0 else '▼ −' if value < 0 else '± '}{abs(value):.1f}"


def short(value: str, length: int = 8) -> str:
    """The start of an id, enough to tell it from others by eye."""
    return value if len(value) <= length + 1 else f"{value[:length]}…"


def spark(counts: tuple[int, ...]) -> Markup:
    """Counts as small bars; SVG attributes alone, because the page allows no inline style."""
    top = max(counts, default=0) or 1
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="3" height="{}"/>').format(index * 4, 16 - height, height)
        for index, height in enumerate(round(15 * count / top) or bool(count) + 1 for count in counts)
    )
    words = f"{sum(counts)} in the last {len(counts)} hours"
    return Markup('<svg class="spark" viewBox="0 0 {} 16" role="img" aria-label="{}">{}</svg>').format(
        len(counts) * 4, words, bars
    )


def request_url(request_id: str) -> str:
    """The page of a request; ids that a browser would take for a path's dots go through the overview."""
    if request_id.strip(".") == "" or "/." in request_id or "./" in request_id:
        return url_for("overview.page", request=request_id)
    return url_for("requests.page", request_id=request_id)


def trace_url(trace_id: str) -> str:
    """The page of a trace."""
    if trace_id.strip(".") == "" or "/." in trace_id or "./" in trace_id:
        return url_for("overview.page", trace=trace_id)
    return url_for("traces.page", trace_id=trace_id)


def trace_link(trace_id: str) -> str:
    """The trace in the tracing system that the settings name; empty where none is set."""
    template = viewer().config.trace_url
    return template.replace("{trace_id}", quote(trace_id, safe="")) if template else ""


def flamegraph_url(capture: Capture) -> str:
    """The flame graph of a capture's profile, with what speedscope reads from the address's hash."""
    page = url_for("profiles.flamegraph", capture_id=capture.capture_id)
    profile = url_for("profiles.file", capture_id=capture.capture_id, form="flamegraph.json")
    # No `title`: speedscope would call every thread by it.
    told = {"profileURL": profile, "view": "left-heavy"}
    return page + "#" + "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items())


def with_arguments(endpoint: str = "", **changes: str | None) -> str:
    """This page's address, or another's, with some of its arguments changed; None and empty ones are left out."""
    # Only names that we know: url_for takes `_external` and its like from the same place.
    given = {name: request.args.get(name, "") for name in ARGUMENTS}
    kept = {name: value for name, value in {**given, **changes}.items() if value}
    own = str(request.endpoint)
    target = endpoint or {"overview.fragment": "overview.page"}.get(own, own)
    return url_for(target, **{**(request.view_args or {}), **kept})


def last_of(path: str) -> str:
    """The end of a path, enough to know a file by."""
    return "/".join(path.rsplit("/", 2)[-2:])


def removed(value: Any) -> str:
    """What the redactor removed by one rule, and how often."""
    entry = hostile.mapping(value)
    return (
        f"{hostile.text(entry.get('rule'), 200) or 'unnamed rule'}, {hostile.text(entry.get('count'), 20) or '?'} times"
    )


# By their own names: `{{ value | when }}`, and `{{ trace_url(id) }}`.
FILTERS: tuple[Callable[..., Any], ...] = (
    *(when, exactly, size, seconds, percent, points),
    *(spark, short, last_of, removed),
)
FUNCTIONS: tuple[Callable[..., Any], ...] = (
    *(request_url, trace_url, trace_link),
    *(flamegraph_url, csrf_token, with_arguments),
)


def register(app: Flask) -> None:
    """Give the templates what they use."""
    app.jinja_env.filters.update({one.__name__: one for one in FILTERS})
    app.jinja_env.globals.update({one.__name__: one for one in FUNCTIONS})
    app.jinja_env.globals.update(level_meaning=LEVELS, version=__version__)
    app.context_processor(_page)


def _page() -> dict[str, Any]:
    identity = getattr(g, "identity", None)
    state = viewer()
    return {
        "identity": identity,
        "with_tokens": bool(state.tokens),
        "store_trouble": state.follower.trouble,
        "building": state.follower.building,
        "store_url": state.config.store_url,
        "pinned": state.follower.pinned,
    }
