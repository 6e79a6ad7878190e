"""`diag doctor`: what will work here, what will not, why, and what to do."""

from __future__ import annotations

import json

import click

from diag import config
from diag.cli import checkup
from diag.cli.checkup import Check
from diag.cli.instances import complete

_SIGNS = {"works": ("✓", "works", "green"), "limited": ("–", "limited", "yellow"), "broken": ("✗", "broken", "red")}


@click.command()
@click.argument("instance", required=False, shell_complete=complete)
@click.option("--json", "as_json", is_flag=True, help="The checks as JSON, for programs.")
def doctor(instance: str | None, as_json: bool) -> int:
    """Say what will work on this machine, what will not, why, and what to do about it.

    With INSTANCE (a name or a pid) also what can be learned of that one. Ends with 0 where everything that diag needs
    works, with 1 where something is broken. No instance is disturbed.

    \b
    Examples:
      diag doctor                      this machine
      diag doctor shop                 and this instance
      diag doctor --json | jq '.checks[] | select(.outcome == "broken")'
    """
    settings = config.load()
    groups = {"": list(checkup.check_machine(settings))}
    if instance is not None:
        groups[instance] = _check_instance(instance, settings)
    checks = [check for group in groups.values() for check in group]
    if as_json:
        click.echo(json.dumps(checkup.to_json(checks), indent=2))
    else:
        for name, group in groups.items():
            _show(name or "this machine", group)
        _conclude(checks)
    return int(not checkup.to_json(checks)["ok"])


def _check_instance(instance: str, settings: config.Settings) -> list[Check]:
    from diag.agent import registry
    from diag.cli.checkup_instance import check_instance

    return list(check_instance(registry.find(settings, instance)))


def _show(title: str, checks: list[Check]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from diag.cli.screen import show
    from diag.report.visible import visible

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for check in checks:
        sign, word, color = _SIGNS[check.outcome]
        words = Text(visible(check.words))
        if check.advice and check.outcome != "works":
            words.append("\n" + visible(check.advice), "dim")
        table.add_row(Text(f"{sign} {word}", color), check.name, words)
    show(Text(visible(title), "bold"), Padding(table, (0, 0, 1, 2)))


def _conclude(checks: list[Check]) -> None:
    broken = [check.name for check in checks if check.outcome == "broken"]
    limited = sum(check.outcome == "limited" for check in checks)
    if broken:
        click.echo(f"Broken: {', '.join(broken)}.")
    elif limited:
        click.echo(f"All that is needed works; {limited} of {len(checks)} checks found a limit.")
    else:
        click.echo("Everything works.")
