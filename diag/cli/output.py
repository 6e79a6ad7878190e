"""What list commands share: tables, JSON, ages, and times as people type them."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import click

from diag.errors import DiagError, UsageError
from diag.model import now

STDOUT = Path("-")  # what `-o -` says
_PIPED_WIDTH = 4096  # nobody sees the edge, and grep wants whole lines
_GAP = 2
_MAIN_MINIMUM = 24
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d{1,9})\s*([smhdw])")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. The `main` one takes the space that the others leave.

    Where that is too little, others are cut to `narrow`, and then left out in the order of `drop` (0: never).
    """

    title: str
    right: bool = False
    main: bool = False
    narrow: int = 100
    drop: int = 0


def print_json(value: Any) -> None:
    """Print it for programs."""
    click.echo(json.dumps(value, indent=2))


def check_writable(output: Path | None, *, as_json: bool = False) -> None:
    """Refuse a file that cannot be written before the wait, not after it. It is not made yet. Raises DiagError.

    `-o -` is standard output, which what is said `as_json` wants for itself.
    """
    if output is None:
        return
    if output == STDOUT:
        if as_json:
            raise UsageError("`--json` and `-o -` both write to standard output.", "Leave one of them out.")
    elif output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise DiagError(f"{output} cannot be written.", "Name another file with -o.")


def write_private(path: Path, content: bytes | Path) -> None:
    """Write a file that the user named, or copy one there: nobody else can read any byte of it. `-` is standard output.

    Raises DiagError.
    """
    if path == STDOUT:
        _copy(content, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    new = not path.exists()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):  # never a device's
                os.fchmod(descriptor, 0o600)
            _copy(content, file)
    except OSError as error:
        if new:
            path.unlink(missing_ok=True)  # half a file looks like a whole one
        raise DiagError(f"{path} cannot be written: {error.strerror}.", "Name another file with -o.") from error


def _copy(content: bytes | Path, file: IO[bytes]) -> None:
    if isinstance(content, bytes):
        file.write(content)
    else:
        with content.open("rb") as source:
            shutil.copyfileobj(source, file)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[Sequence[str]]) -> None:
    """Print an aligned table without lines; `styles` are rich styles, cell by cell. Cells are data, never markup."""
    from rich.table import Table
    from rich.text import Text

    from diag.cli import screen
    from diag.report.visible import visible

    cells = [[column.title, *(visible(row[index]) for row in rows)] for index, column in enumerate(columns)]
    widths = _widths(columns, cells, screen.width() if sys.stdout.isatty() else _PIPED_WIDTH)
    kept = [index for index, width in enumerate(widths) if width]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index in kept:
        justify = "right" if columns[index].right else "left"
        table.add_column(columns[index].title, justify=justify, no_wrap=True, overflow="ellipsis", width=widths[index])  # type: ignore[arg-type]
    for number, row_styles in enumerate(styles, 1):
        table.add_row(*(Text(cells[index][number], row_styles[index]) for index in kept))
    screen.show(table, columns=sum(widths) + _GAP * len(widths))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], available: int) -> list[int]:
    """The width of each column; 0 leaves it out."""
    from rich.cells import cell_len

    wide = [max(map(cell_len, column)) for column in cells]
    main = next(index for index, column in enumerate(columns) if column.main)
    tight = [min(width, max(column.narrow, len(column.title))) for width, column in zip(wide, columns, strict=True)]
    steps = [(wide, 0), *((tight, column.drop) for column in sorted(columns, key=lambda column: column.drop))]
    for widths, dropped in steps:
        kept = [0 if 0 < column.drop <= dropped else width for width, column in zip(widths, columns, strict=True)]
        room = available - sum(width + _GAP for index, width in enumerate(kept) if width and index != main)
        if room >= min(wide[main], _MAIN_MINIMUM):
            break
    kept[main] = max(min(wide[main], room), len(columns[main].title))
    return kept


def age(moment: datetime) -> str:
    """How long ago, in one unit: `40s`, `5m`, `3h`, `12d`."""
    seconds = max(0, int((now() - moment).total_seconds()))
    for unit, size, until in (("s", 1, 60), ("m", 60, 60), ("h", 3600, 48)):
        if seconds < size * until:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def parse_since(text: str) -> datetime:
    """The moment that `2h`, `3d`, or an ISO date or time means; one without a zone is local. Raises UsageError."""
    span = _SPAN.fullmatch(text.strip().lower())
    try:
        if span:
            return now() - timedelta(seconds=int(span[1]) * _UNITS[span[2]])
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--since {text!r} is no time.",
            "For example: --since 2h, --since 3d, --since 2026-11-20, --since 2026-11-20T08:00",
        ) from None


def parse_span_s(option: str, text: str) -> int:
    """The seconds that `30d` or `12h` means. Raises UsageError."""
    span = _SPAN.fullmatch(text.strip().lower())
    if span is None:
        raise UsageError(
            f"{option} {text!r} is no span of time.", f"For example: {option} 12h, {option} 30d, {option} 8w"
        )
    return int(span[1]) * _UNITS[span[2]]


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Each id cut so that it still names one of them: 8 characters, or as many as it takes."""
    for length in (8, 13, 18, 23):
        cut = {one: one[:length] for one in ids}
        if len(set(cut.values())) == len(set(ids)):
            return cut
    return {one: one for one in ids}


def size(size_bytes: float) -> str:
    """Bytes as a person reads them: `12 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
