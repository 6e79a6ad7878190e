"""Instances as words on a command line: completion of their names."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the running instances, for the shell."""
    from diag import config
    from diag.agent import registry
    from diag.errors import DiagError

    try:
        targets = registry.running(config.load())
    except DiagError:
        return []
    matching = [target for target in targets if target.name.startswith(incomplete)]
    return [CompletionItem(target.name, help=f"pid {target.pid}") for target in matching]
