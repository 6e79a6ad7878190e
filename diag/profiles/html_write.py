"""A profile as one HTML file that needs no other and no network: its summary, and its flame graph by speedscope."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from diag.profiles import headline, speedscope_write
from diag.profiles.model import PID, PROCESS, REQUEST_ID, THREAD, THREAD_ID, TRACE_ID, Profile
from diag.profiles.summary import summary
from diag.profiles.transform import shown_first

SPEEDSCOPE = Path(__file__).with_name("vendor") / "speedscope"
_LATEST_NS = 1 << 63  # in the year 2262: what is later is no time
_Rows = Iterable[Mapping[str, Any]]


def write(profile: Profile) -> bytes:
    """The page. The flame graph is of the sample type that is shown first."""
    found = summary(profile)
    return _filled(
        "page.html",
        title=escape(headline.title(found)),
        facts="\n".join(f"<p>{escape(fact)}</p>" for fact in headline.facts(found)),
        when=escape(_when(profile)),
        flamegraph=escape(_flamegraph(profile)),
        tables="\n".join(_tables(found)),
    ).encode("utf-8", "replace")


def _filled(template: str, **parts: str) -> str:
    return Template(Path(__file__).with_name(template).read_text("utf-8")).substitute(parts)


def _when(profile: Profile) -> str:
    if not 0 < profile.start_ns < _LATEST_NS:
        return ""
    moment = datetime.fromtimestamp(profile.start_ns / 1e9, UTC)
    return f"Taken at {moment:%Y-%m-%d %H:%M:%S} UTC."


def _flamegraph(profile: Profile) -> str:
    """A document of its own, because speedscope takes all of the one that it is in."""
    drawn = gzip.compress(speedscope_write.write(shown_first(profile)), mtime=0)
    (style,), (script,) = (list(SPEEDSCOPE.glob(f"speedscope-*.{kind}")) for kind in ("css", "js"))
    return _filled(
        "flamegraph.html",
        licence=(SPEEDSCOPE / "LICENSE").read_text("utf-8"),
        style=style.read_text("utf-8").partition("@font-face")[0],  # its font is another file
        script=script.read_text("utf-8"),
        profile=base64.b64encode(drawn).decode(),
    )


def _tables(found: Mapping[str, Any]) -> Iterable[str]:
    by_self, by_total = found["by_self"], found["by_total"]
    yield _table("Hottest by itself", ("Function", "Self", "Total"), _functions(by_self, "self", "total"))
    yield _table("Hottest with what it calls", ("Function", "Total", "Self"), _functions(by_total, "total", "self"))
    modules = [_row(one["module"], "", one["self_share"], one["total_share"]) for one in found["modules"]]
    yield _table("By module", ("Module", "Self", "Total"), modules)
    yield _table("By thread", ("Thread", "Share"), [_row(*_thread(one), one["share"]) for one in found["threads"]])
    requests = [_row(one[REQUEST_ID], one[TRACE_ID] or "", one["share"]) for one in found["requests"]]
    yield _table("By request", ("Request", "Share"), requests)


def _functions(rows: _Rows, first: str, second: str) -> list[str]:
    return [
        _row(one["function"], one["file"], one[f"{first}_share"], one[f"{second}_share"], in_app=one["in_app"])
        for one in rows
    ]


def _thread(one: Mapping[str, Any]) -> tuple[str, str]:
    ids = [f"{name} {one[key]}" for key, name in ((PID, "pid"), (THREAD_ID, "thread")) if one[key] is not None]
    return one[THREAD] or one[PROCESS] or "thread", ", ".join(ids)


def _table(title: str, columns: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return ""
    first, *others = columns
    head = f"<th>{first}</th>" + "".join(f'<th class="number">{name}</th>' for name in others)
    body = "\n".join(rows)
    return f"<div><h2>{title}</h2><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"


def _row(name: str, place: str, share: float, second: float | None = None, *, in_app: bool = False) -> str:
    below = f'<span class="place soft">{escape(place)}</span>' if place else ""
    meter = f'<meter value="{min(1.0, max(0.0, share))}"></meter>'
    cells = f'<td class="number">{meter} <span>{headline.percent(share)}</span></td>'
    if second is not None:
        cells += f'<td class="number soft">{headline.percent(second)}</td>'
    kind = ' class="app"' if in_app else ""
    return f'<tr{kind}><td><span class="name">{escape(str(name))}</span>{below}</td>{cells}</tr>'
