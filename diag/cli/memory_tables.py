"""A capture of memory as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from diag.capture.memory_words import COLUMNS, signed, size
from diag.cli.output import Column, print_table
from diag.report.visible import visible

_ROWS = 8
_GROWN = Column("GROWN", right=True)


def show(found: Mapping[str, Any], everything: bool) -> None:
    """Print it: the answer first, then each table that has rows, 8 of them or all."""
    most = None if everything else _ROWS
    click.echo()
    for line in filter(None, (*found["facts"], found["note"])):
        click.echo(f"  {visible(line)}")
    for one in found["allocations"]:
        rows = [row for row in one["by_self"] if row["self"]][:most]
        _print(f"{COLUMNS[one['sample_type']['name']]}, {size(one['total'])}", _FUNCTIONS, rows, _function)
    types = found["types"]
    if types:
        columns = [Column("BYTES", right=True), Column("COUNT", right=True), Column("TYPE", main=True)]
        _print("objects by type", columns, types["rows"][:most], _type)
        if "growth" in types:
            grown = sorted(types["rows"], key=lambda row: -row["growth"]["bytes"])
            grown = [row for row in grown if row["growth"]["bytes"] > 0][:most]
            columns = [_GROWN, Column("MORE", right=True), *columns]
            _print("what became more", columns, grown, lambda row: (*_grown(row), *_type(row)))
        columns = [Column("BYTES", right=True), Column("HOLDS", right=True), Column("TYPE", main=True)]
        _print("largest objects", columns, types.get("largest", [])[:most], _large)
    _mappings(found["mappings"], most)


def _mappings(mappings: Mapping[str, Any], most: int | None) -> None:
    columns = [Column(name, right=True) for name in ("RSS", "PSS", "OWN", "SWAP")]
    columns += [Column("MAPPING", main=True), Column("", drop=1)]
    groups = mappings["groups"]
    if "growth" in mappings["process"]:
        grown = lambda row: (signed(row["growth"]["rss"]), *_mapping(row))  # noqa: E731
        _print("mappings", [_GROWN, *columns], groups[:most], grown)
    else:
        _print("mappings", columns, groups[:most], _mapping)


def _print(title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], cells: Any) -> None:
    if rows:
        click.echo(f"\n{visible(title).upper()}")
        main = next(index for index, column in enumerate(columns) if column.main)
        style = ["bold" if not index else "" if index <= main else "dim" for index in range(len(columns))]
        print_table(columns, [cells(row) for row in rows], [style] * len(rows))


_FUNCTIONS = (
    *(Column("BYTES", right=True), Column("SHARE", right=True), Column("BELOW", right=True)),
    *(Column("FUNCTION", main=True), Column("", drop=1)),
)


def _function(row: Mapping[str, Any]) -> Sequence[str]:
    share = f"{row['self_share'] * 100:.1f} %"
    return size(row["self"]), share, size(row["total"]), str(row["function"]), _end_of(row["file"])


def _type(row: Mapping[str, Any]) -> Sequence[str]:
    return size(row["bytes"]), f"{row['count']:,}", str(row["name"])


def _grown(row: Mapping[str, Any]) -> Sequence[str]:
    return signed(row["growth"]["bytes"]), f"{row['growth']['count']:+,}"


def _large(row: Mapping[str, Any]) -> Sequence[str]:
    return size(row["bytes"]), f"{row['length']:,}" if row["length"] >= 0 else "", str(row["name"])


def _mapping(row: Mapping[str, Any]) -> Sequence[str]:
    sizes = [size(row[name]) for name in ("rss", "pss", "private_dirty", "swap")]
    return *sizes, _end_of(row["name"]), row["kind"] if row["kind"] != row["name"] else ""


def _end_of(file: Any) -> str:
    return "/".join(str(file).rsplit("/", 2)[-2:])
