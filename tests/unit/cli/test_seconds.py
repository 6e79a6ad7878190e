"""Seconds on a command line."""

from __future__ import annotations

import click
import pytest

from diag.cli.main import run_command_line
from diag.cli.seconds import Seconds


@pytest.mark.parametrize("text", ["nan", "-nan", "NaN", "inf", "-1", "0", "11", "ten", ""])
def test_no_number_within_the_range(text: str) -> None:
    """Neither what is beyond the limits nor what cannot be compared with them."""
    with pytest.raises(click.BadParameter):
        Seconds(0.1, 10).convert(text, None, None)


def test_a_number_within_the_range() -> None:
    """Fractions are allowed."""
    assert Seconds(0.1, 10).convert("2.5", None, None) == 2.5


@pytest.mark.parametrize(
    "arguments",
    [["tcpdump", "1", "-d", "nan"], ["exec", "--timeout", "nan", "1", "--", "id"], ["flush", "--deadline", "nan"]],
    ids=" ".join,
)
def test_every_command_that_takes_seconds(arguments: list[str]) -> None:
    """Exit 2, and nothing is begun: a time limit that is never reached is none."""
    assert run_command_line(arguments) == 2
