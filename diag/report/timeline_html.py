"""The timeline as HTML: attributes of SVG alone place everything, because no page of ours allows inline style."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from diag.report.timeline_view import ROW, TALL, WIDE, Curve, TimelineView

_COLUMNS = ("Before", "Memory", "CPU", "Threads", "Open files", "Requests a second")


def timeline_html(view: TimelineView) -> str:
    """The picture and the same as a table, every text escaped."""
    return "\n".join(_parts(view))


def _parts(view: TimelineView) -> Iterator[str]:
    yield '<div class="history">'
    for curve in view.curves:
        yield _lane(curve.name, curve.said, _curve(curve))
    if view.bars:
        said = f"{len(view.bars)} requests, {sum(bar.state == 'failed' for bar in view.bars)} failed"
        flying = sum(bar.state == "open" for bar in view.bars)
        yield _lane("Requests", f"{said}, {flying} in flight", "".join(_bars(view)))
    if view.ticks:
        yield _lane("Events", f"{len(view.ticks)}", "".join(_ticks(view)))
    names = "".join(f"<span>{escape(name)}</span>" for name in view.axis)
    yield f'<div class="lane"><span class="who"></span><span class="axis soft small">{names}</span></div>'
    yield "</div>"
    if view.left_out:
        yield f'<p class="soft small">Left out: {view.left_out} requests that found no room.</p>'
    if view.rows:
        yield _table(view)


def _lane(name: str, said: str, picture: str) -> str:
    words = f'{escape(name)} <span class="soft small">{escape(said)}</span>'
    return f'<div class="lane"><span class="who">{words}</span>{picture}</div>'


def _curve(curve: Curve) -> str:
    label = escape(f"{curve.name}: {curve.said}")
    limit = ""
    if curve.limit_y is not None:
        limit = f'<line class="limit" x1="0" x2="{WIDE}" y1="{curve.limit_y}" y2="{curve.limit_y}"/>'
    return (
        f'<svg class="curve" viewBox="0 0 {WIDE} {TALL}" width="100%" height="{TALL}" preserveAspectRatio="none"'
        f' role="img" aria-label="{label}"><title>{label}</title><path d="{curve.path}"/>{limit}{_END}</svg>'
    )


_END = f'<line class="end" x1="{WIDE}" x2="{WIDE}" y1="0" y2="{TALL}"/>'


def _bars(view: TimelineView) -> Iterator[str]:
    height = view.bar_rows * ROW
    yield f'<svg class="requests" width="100%" height="{height}" role="img" aria-label="Requests over time">'
    for bar in view.bars:
        words = f'<text x="4" y="12">{escape(bar.label)}</text>' if bar.roomy else ""
        if not bar.roomy and bar.state == "failed":
            words = '<text x="0" y="12">✕</text>'
        yield (
            f'<svg class="{bar.state}" x="{bar.x:.3f}%" y="{bar.row * ROW}" width="{bar.width:.3f}%" height="{ROW}">'
            f'<title>{escape(bar.said)}</title><rect width="100%" height="{ROW - 3}"/>{words}</svg>'
        )
    yield f'<line class="end" x1="100%" x2="100%" y1="0" y2="{height}"/></svg>'


def _ticks(view: TimelineView) -> Iterator[str]:
    yield f'<svg class="ticks" width="100%" height="{ROW}" role="img" aria-label="Events over time">'
    for tick in view.ticks:
        yield (
            f'<svg x="{min(tick.x, 99.2):.3f}%" width="8" height="{ROW}"><title>{escape(tick.said)}</title>'
            f'<rect width="8" height="{ROW}" class="around"/><path d="M4 1V{ROW - 2}"/></svg>'
        )
    yield f'<line class="end" x1="100%" x2="100%" y1="0" y2="{ROW}"/></svg>'


def _table(view: TimelineView) -> str:
    head = "".join(f'<th class="right">{name}</th>' for name in _COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f'<td class="right whole">{escape(cell)}</td>' for cell in row) + "</tr>" for row in view.rows
    )
    samples = f"{len(view.rows)} sample{'' if len(view.rows) == 1 else 's'}"
    return (
        f'<details><summary>As a table <span class="soft">{samples}</span></summary>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div></details>'
    )
