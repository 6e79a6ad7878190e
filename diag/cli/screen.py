"""The terminal that commands print to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH_PIPED = 100


def colored() -> bool:
    """Whether standard output takes colour: a terminal, and nobody set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """The columns there are; as many as a page is comfortable with where the output is no terminal."""
    return shutil.get_terminal_size((WIDTH_PIPED, 24)).columns


def show(*renderables: RenderableType, columns: int | None = None) -> None:
    """Print what rich renders, without the blanks that it pads lines with, and with nothing taken for markup."""
    import click
    from rich.console import Console

    console = Console(
        no_color=not colored(),
        force_terminal=colored(),
        width=columns or width(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=colored())
