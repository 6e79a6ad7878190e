"""The terminal that commands print to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_PIPED = 100


def colored() -> bool:
    """Whether standard output takes colour: a terminal, and nobody set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """The columns there are; as many as a page is comfortable with where the output is no terminal."""
    return shutil.get_terminal_size((WIDTH_PIPED, 24)).columns


def console() -> Console:
    """A rich console on standard output that obeys both, and takes nothing printed for markup."""
    from rich.console import Console

    return Console(no_color=not colored(), width=width(), highlight=False, markup=False, emoji=False)
