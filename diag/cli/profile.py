"""`diag profile`: where a live instance spends its time."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diag import config
from diag.agent import registry
from diag.agent.registry import Target
from diag.capture.profile import refining
from diag.capture.take import Taken, take
from diag.cli import taking
from diag.cli.instances import complete
from diag.cli.output import STDOUT, check_writable, print_json, write_private
from diag.collectors.asked import FASTEST_HZ, LONGEST_S, Mode, ProfileAsked
from diag.collectors.collector import COLLECTORS
from diag.profiles import formats

_MODES = click.Choice(["cpu", "wall", "gil"])
_ENGINES = click.Choice(["auto", *COLLECTORS["profile"]])
_FORMATS = click.Choice(list(formats.WRITERS))
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("instance", shell_complete=complete)
@click.option("-d", "--duration", type=click.IntRange(1, LONGEST_S), default=10, show_default=True, help="Seconds.")
@click.option("-r", "--rate", type=click.IntRange(1, FASTEST_HZ), default=100, show_default=True, help="Hz.")
@click.option("--mode", type=_MODES, default="cpu", show_default=True, help="Threads that run; all; with the GIL.")
@click.option("--native", is_flag=True, help="C frames too. Stops the process at each sample.")
@click.option("--idle", is_flag=True, help="Threads that wait, too: the same as --mode wall.")
@click.option("--subprocesses/--no-subprocesses", default=None, help="Its children too; of a named instance they are.")
@click.option("--engine", type=_ENGINES, default="auto", show_default=True, help="What reads the stacks.")
@click.option("-f", "--format", "form", type=_FORMATS, help="Also write a file in this format.")
@click.option("-o", "--output", type=_FILE, help="The name of that file, or -; pprof where -f says nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
def profile(
    instance: str,
    duration: int,
    rate: int,
    mode: Mode,
    native: bool,
    idle: bool,
    subprocesses: bool | None,
    engine: str,
    form: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Profile a live INSTANCE for some seconds: where its time goes, without a change to it and without a stop.

    INSTANCE is a name, which covers all processes of the instance, or a pid, which need not have been started by diag.
    Ctrl-C ends early and keeps what there is. The profile is kept like every capture, with the requests that were
    served meanwhile.

    \b
    Examples:
      diag profile shop                          ten seconds, 100 samples a second
      diag profile 4711 -d 30 --mode wall        what it waits for, too
      diag profile shop --native                 with C frames; this stops it at each sample
      diag profile shop -f speedscope -o shop.speedscope.json
      diag profile shop --json | jq .facts.hottest
    """
    settings = config.load()
    target = registry.find(settings, instance)
    check_writable(output, as_json=as_json)
    whole = not instance.isdecimal() if subprocesses is None else subprocesses
    asked = ProfileAsked(duration, rate, "wall" if idle else mode, native, whole)
    subject = taking.subject_of(target)
    collector, why = taking.choose("profile", engine, asked, subject)
    click.echo(why, err=True)
    with taking.watching(f"profile {target.name}") as watch:
        taken = take(
            collector,
            subject,
            kind="profile",
            settings=settings,
            watch=watch,
            refine=taking.politely(refining(asked)),
            witness=lambda: taking.witness(target, whole),
        )
    written = taking.written(taken, settings, lambda: _written(taken, form, output, target))
    if as_json:
        summary = json.loads((taken.folder / "summary.json").read_bytes())
        print_json({"capture_id": taken.capture.capture_id, **summary})
    taking.conclude(taken, settings, written=written, beside_output=output == STDOUT, quiet=as_json)


def _written(taken: Taken, form: str | None, output: Path | None, target: Target) -> str | None:
    """The file that was asked for, by -f or -o."""
    if form is None and output is None:
        return None
    form = form or "pprof"
    path = output or Path(f"profile.{target.name}.{taking.moment_of(taken)}{formats.SUFFIXES[form]}")
    content = (taken.folder / "profile.pb.gz").read_bytes()
    write_private(path, content if form == "pprof" else formats.write(formats.read(content, "pprof"), form))
    return None if path == STDOUT else str(path)
