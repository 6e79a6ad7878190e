"""A summary of packets as tables in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from diag.cli.output import Column, print_table, size
from diag.profiles.headline import counted

_ROWS = 8
_EXCHANGES = (
    *(Column("TOOK", right=True), Column("PROTOCOL", drop=2), Column("ASKED", main=True)),
    *(Column("ANSWER", narrow=12), Column("OF", drop=3), Column("REQUEST", narrow=16, drop=1)),
)
_EVENTS = (Column("TIMES", right=True), Column("WHAT"), Column("CLIENT", main=True), Column("SERVER"))
_TALKS = (
    *(Column("CLIENT", main=True), Column("SERVER"), Column("SPEAKS"), Column("ASKED", right=True)),
    *(Column("ANSWERED", right=True), Column("FOR", right=True, drop=2), Column("END", drop=1)),
)


def show(summary: Mapping[str, Any], everything: bool) -> None:
    """Print it: what there was, then each table that has rows, 8 of them or all."""
    most = None if everything else _ROWS
    talks, exchanges = summary["conversation_count"], summary["exchanges"]
    packets = f"{counted(summary['packets'], 'packet')} in {float(summary['duration_s']):.1f} s"
    click.echo(f"\n  {packets}, {counted(talks, 'conversation')}")
    click.echo(f"  {counted(exchanges, 'exchange')} decoded, {summary['failed_exchanges']} failed")
    _table("slowest exchanges", summary["slowest"][:most], _EXCHANGES, _exchange)
    _table("failed exchanges", summary["failed"][:most], _EXCHANGES, _exchange)
    _table("trouble with connections", summary["events"][:most], _EVENTS, _event)
    _table("conversations", summary["conversations"][:most], _TALKS, _talk)


def _table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    cells: Callable[[Mapping[str, Any]], tuple[str, ...]],
) -> None:
    if rows:
        click.echo(f"\n{title.upper()}")
        styles = [("bold", *[""] * (len(columns) - 1)) for _ in rows]
        print_table(columns, [cells(row) for row in rows], styles)


def _exchange(row: Mapping[str, Any]) -> tuple[str, ...]:
    told = (row["protocol"], row["what"], row["status"], row["server"], row["request_id"] or "")
    return _took(row["latency_s"]), *map(str, told)


def _event(row: Mapping[str, Any]) -> tuple[str, ...]:
    return str(row["count"]), str(row["event"]), str(row["client"]), str(row["server"])


def _talk(row: Mapping[str, Any]) -> tuple[str, ...]:
    ways = [size(row[way]["bytes"]) for way in ("up", "down")]
    return str(row["client"]), str(row["server"]), row["protocol"] or "", *ways, _took(row["duration_s"]), row["ended"]


def _took(seconds: Any) -> str:
    return "" if seconds is None else f"{float(seconds) * 1000:.1f} ms"
