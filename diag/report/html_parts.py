"""Pieces of a report's HTML page. Every text is escaped here, and every list bounded: the report may be anybody's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from diag.report import loose
from diag.report.reading import duration, size

FACTS_LIMIT, FRAMES_LIMIT, ROWS_LIMIT = 400, 400, 1000
_ALWAYS_OPEN = 4  # the innermost frames tell what was being done, whoever wrote them
_FOLD_FROM = 4
_SIZES = ("bytes", "memory", "rss", "maxrss", "swap", "usage", "peak", "limit", "virtualmemory")


def section(title: str, *content: str, detail: str = "") -> str:
    """A part of the page; nothing where it has no content."""
    filled = [one for one in content if one]
    more = f' <span class="soft small">{escape(detail)}</span>' if detail else ""
    return f"<section><h2>{escape(title)}{more}</h2>{''.join(filled)}</section>" if filled else ""


def fold(title: str, content: str, detail: str = "", *, opened: bool = False) -> str:
    """A part that is opened by who wants it; nothing where it has no content."""
    if not content:
        return ""
    more = f' <span class="soft">{escape(detail)}</span>' if detail else ""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}{more}</summary>{content}</details>"


def facts(rows: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Names and values; those without a value are left out."""
    cells = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows if value]
    return f'<dl class="facts {kind}">{"".join(cells)}</dl>' if cells else ""


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """An object as rows, nested names joined with dots; sizes read as sizes."""
    rows: list[tuple[str, str]] = []
    for name, one in loose.mapping(value).items():
        if len(rows) >= FACTS_LIMIT:
            break
        if isinstance(one, dict) and one:
            rows += flat(one, f"{prefix}{name}.")[: FACTS_LIMIT - len(rows)] if prefix.count(".") < 6 else []
        elif one not in (None, "", [], {}):
            rows.append((f"{prefix}{name}", _value(name, one)))
    return rows


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(loose.text(one, 1000) for one in value[:200])
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1024
    known = loose.number(value)
    if whole and known is not None and name.lower().replace("_", "").endswith(_SIZES):
        return size(known)
    return loose.text(value, 4000)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells; nothing where there are none."""
    body = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    if not body:
        return ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def requests(value: Any) -> str:
    """Requests, as a report lists them."""
    rows = []
    for one in loose.mappings(value, 200):
        took = loose.number(one.get("duration_s"))
        age = loose.number(one.get("age_s"))
        how = f"took {duration(took)}" if took is not None else f"for {duration(age)}" if age is not None else ""
        words = " ".join(filter(None, (loose.text(one.get("method"), 40), loose.text(one.get("path"), 2000))))
        ids = [loose.text(one.get(key), 200) for key in ("request_id", "trace_id")]
        rows.append((words, *ids, loose.text(one.get("status"), 20), how))
    return table(("Request", "Id", "Trace", "Status", "Time"), rows)


def stack(holder: Mapping[str, Any]) -> str:
    """The frames of a thread or an exception, innermost first, long runs of library frames folded."""
    frames = list(loose.mappings(holder.get("frames"), FRAMES_LIMIT))
    if not frames:
        return '<p class="soft">Its stack could not be read.</p>'
    cut = loose.number(holder.get("framesCut"))
    left_out = f'<p class="soft small">{cut:.0f} frames in the middle were left out.</p>' if cut else ""
    return f'<ol class="frames">{"".join(_runs(frames))}</ol>{left_out}'


def _runs(frames: list[Mapping[str, Any]]) -> Iterator[str]:
    library: list[str] = []
    any_own = any(frame.get("inApp") is True for frame in frames)
    for number, frame in enumerate(frames):
        shown = _frame(number, frame)
        if frame.get("inApp") is True or number < _ALWAYS_OPEN or not any_own:
            yield from _folded(library)
            library = []
            yield shown
        else:
            library.append(shown)
    yield from _folded(library)


def _folded(library: list[str]) -> Iterator[str]:
    if len(library) < _FOLD_FROM:
        yield from library
        return
    inner = f'<ol class="frames">{"".join(library)}</ol>'
    yield f"<li><details><summary>{len(library)} library frames</summary>{inner}</details></li>"


def _frame(number: int, frame: Mapping[str, Any]) -> str:
    own, language = frame.get("inApp") is True, loose.text(frame.get("language"), 20)
    file, line = loose.text(frame.get("file") or frame.get("module"), 1000), loose.text(frame.get("line"), 20)
    tag = f' <span class="tag">{escape(language)}</span>' if language not in ("", "python") else ""
    tag = f' <span class="tag">app</span>{tag}' if own else tag
    parts = [
        f'<span class="number">{number}</span>',
        f"<span>{escape(loose.text(frame.get('function'), 1000) or '?')}{tag}</span>",
        f'<span class="place">{escape(f"{file}:{line}" if line else file)}</span>',
        source(frame),
    ]
    named = [(name, loose.text(value, 2000)) for name, value in list(loose.mapping(frame.get("locals")).items())[:200]]
    parts.append(fold(f"{len(named)} local variables", facts(named)))
    return f'<li class="frame{" app" if own else ""}">{"".join(parts)}</li>'


def source(frame: Mapping[str, Any]) -> str:
    """The lines around a frame's, its own marked; nothing where the report has none."""
    told = loose.mapping(frame.get("source"))
    first, here = loose.number(told.get("first")), loose.number(frame.get("line"))
    lines = told.get("lines")
    if first is None or not isinstance(lines, list):
        return ""
    shown = []
    for number, line in enumerate(lines[:41], int(first)):
        at = number == here
        code = f'<span class="line">{"▸" if at else " "}{number:>5} </span> {escape(loose.text(line, 1000))}'
        shown.append(f'<span class="here">{code}</span>' if at else code)
    changed = '<p class="soft small">The file was changed after the process had started: its lines may be others.</p>'
    return f'<pre class="source">{chr(10).join(shown)}</pre>{changed if told.get("changed") is True else ""}'
