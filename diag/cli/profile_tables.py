"""A profile's summary as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from diag.cli.output import Column, print_table
from diag.profiles.headline import counted
from diag.report.visible import visible

_ROWS = 8
_SHARES = (Column("SELF", right=True), Column("TOTAL", right=True))


def show(summary: Mapping[str, Any], everything: bool) -> None:
    """Print it: the answer first, then each table that has rows, 8 of them or all."""
    most = None if everything else _ROWS
    click.echo()
    for line in _answer(summary):
        click.echo(f"  {visible(line)}")
    for title, key, name in (
        ("hottest by itself", "by_self", "function"),
        ("hottest with what it calls", "by_total", "function"),
        ("modules", "modules", "module"),
    ):
        _table(
            title, summary[key][:most], [*_SHARES, Column(name.upper(), main=True), Column("", drop=1)], _shares(name)
        )
    threads = (Column("SHARE", right=True), Column("THREAD", main=True), Column("ID", drop=1), Column("PID", drop=2))
    _table("threads", summary["threads"][:most], threads, _thread)
    requests = (Column("SHARE", right=True), Column("REQUEST", main=True), Column("TRACE", drop=1))
    _table("requests", summary["requests"][:most], requests, _request)


def percent(share: Any) -> str:
    """A share as text, with its sign where it is negative."""
    return f"{float(share) * 100:.1f} %"


def _answer(summary: Mapping[str, Any]) -> Sequence[str]:
    facts, taken = summary["facts"], summary["recording"]
    hottest, own = facts["hottest"], facts["longest_in_app"]
    lines = ["No sample was taken: nothing ran."]
    if hottest:
        lines = [f"{percent(hottest['self_share'])} in {_named(hottest)} itself"]
    if own:
        lines.append(f"{percent(own['total_share'])} below {_named(own)}")
    shares = (("app_share", "your code itself"), ("in_requests_share", "requests"), ("idle_share", "waiting"))
    lines.append(", ".join(f"{percent(facts[key])} {name}" for key, name in shares if facts[key]))
    lines.append(f"{counted(summary['samples'], 'sample')} in {float(taken['duration_s']):.1f} s, {taken['sentence']}")
    return [line for line in lines if line]


def _table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], cells: Any) -> None:
    if rows:
        click.echo(f"\n{title.upper()}")
        styles = [("bold", "", "bold" if row.get("in_app") else "", "dim")[: len(columns)] for row in rows]
        print_table(columns, [cells(row) for row in rows], styles)


def _shares(name: str) -> Any:
    def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
        file = "/".join(str(row.get("file", "")).rsplit("/", 2)[-2:])
        return percent(row["self_share"]), percent(row["total_share"]), str(row[name]), file

    return cells


def _thread(row: Mapping[str, Any]) -> tuple[str, ...]:
    return percent(row["share"]), *(_text(row[key]) for key in ("thread", "thread_id", "pid"))


def _request(row: Mapping[str, Any]) -> tuple[str, ...]:
    return percent(row["share"]), _text(row["request_id"]), _text(row["trace_id"])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _named(function: Mapping[str, Any]) -> str:
    file = str(function["file"]).rpartition("/")[2]
    return f"{function['function']} ({file})" if file else str(function["function"])
