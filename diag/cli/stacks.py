"""`diag stacks`: what every thread and task of a live instance does now, and who waits for whom."""

from __future__ import annotations

import re
import sys

import click

from diag import config
from diag.agent import registry
from diag.agent.registry import Target
from diag.capture.stacks import NAME, refine
from diag.capture.take import take
from diag.cli import family, screen, taking
from diag.cli.instances import complete
from diag.collectors.asked import LONGEST_EVERY_S, MOST_LOOKS, SHORTEST_EVERY_S, StacksAsked

_SPAN = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}


class Every(click.ParamType[float]):
    """A short span of time, as `500ms`, `1s`, `2m`; without a unit seconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; fails beyond the limits."""
        if isinstance(value, float):
            return value
        found = _SPAN.fullmatch(str(value).strip())
        seconds = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
        if not SHORTEST_EVERY_S <= seconds <= LONGEST_EVERY_S:
            self.fail(f"{value!r} is no span between 50ms and {LONGEST_EVERY_S / 60:.0f}m.", param, ctx)
        return seconds


@click.command()
@click.argument("instance", shell_complete=complete)
@click.option("--native", is_flag=True, help="C frames among the others. Stops the process while read.")
@click.option("--locals", "with_locals", is_flag=True, help="Local variables, redacted. Stops the process while read.")
@click.option("--async/--no-async", "tasks", default=None, help="asyncio tasks; by default where the probe can say.")
@click.option("-n", "looks", type=click.IntRange(1, MOST_LOOKS), default=1, help="So many looks in a row.")
@click.option("--every", type=Every(), default=1.0, show_default="1s", help="The time between two of them.")
@click.option("--all", "everything", is_flag=True, help="Every thread with all its frames.")
@click.option("--json", "as_json", is_flag=True, help="The document as JSON on standard output, nothing else.")
def stacks(
    instance: str,
    native: bool,
    with_locals: bool,
    tasks: bool | None,
    looks: int,
    every: float,
    everything: bool,
    as_json: bool,
) -> None:
    """Show what every thread and asyncio task of a live INSTANCE does, who waits for whom, and deadlocks.

    INSTANCE is a name, which covers all processes of the instance, or a pid, which need not have been started by diag:
    Python, Node, Go, native. It runs on while it is read; --locals and --native stop it, and the last line says for how
    long. With -n several looks in a row show what moves. It is kept like every capture.

    \b
    Examples:
      diag stacks shop                     who runs, who waits for what, and for whom
      diag stacks 4711 -n 3 --every 1s     what moves, and what has not in two seconds
      diag stacks shop --native --locals   with C frames and variables
      diag stacks shop --json | jq .verdict
    """
    settings = config.load()
    target = registry.find(settings, instance)
    subject = taking.subject_of(target)
    alone = registry.names_process(instance)
    others = () if alone else _others(target)
    asked = StacksAsked(native, with_locals, tasks, looks, every, others)
    collector, why = taking.choose("stacks", "auto", asked, subject)
    click.echo(why, err=True)
    with taking.watching(f"stacks of {target.name}") as watch:
        taken = take(
            collector,
            subject,
            kind="stacks",
            settings=settings,
            watch=watch,
            refine=taking.politely(refine),
            witness=lambda: taking.witness(target, not alone),
            alone=False,
        )
    content = (taken.folder / NAME).read_bytes()
    if as_json:
        sys.stdout.write(content.decode())
    else:
        _print(content, everything)
    taking.conclude(taken, settings, quiet=as_json)


def _others(target: Target) -> tuple[int, ...]:
    return tuple(process.pid for process, depth in family.read().members(target) if depth)


def _print(content: bytes, everything: bool) -> None:
    import json

    from diag.report.stacks_reading import read
    from diag.report.stacks_render import render

    text = render(read(json.loads(content)), color=screen.colored(), width=screen.width(), everything=everything)
    click.echo(text, nl=False, color=screen.colored())
