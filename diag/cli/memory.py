"""`diag memory`: who holds a live instance's memory, and who allocates it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from diag import config
from diag.agent import registry
from diag.agent.registry import Target
from diag.capture.memory import NAME, refining
from diag.capture.take import Taken, take
from diag.cli import family, taking
from diag.cli.instances import complete
from diag.cli.output import STDOUT, check_writable, print_json, write_private
from diag.collectors.asked import LONGEST_S, MemoryAsked
from diag.collectors.collector import COLLECTORS, Subject
from diag.collectors.questions import NotAnswered
from diag.config import Settings
from diag.errors import DiagError, UsageError
from diag.profiles import formats

SHOWN = 8
WITHOUT_STACKS = ("objects", "smaps")
_ENGINES = click.Choice(["auto", *COLLECTORS["memory"]])
_FORMATS = click.Choice([*formats.WRITERS, "json"])
_FILE = click.Path(path_type=Path, dir_okay=False)
_DURATION = click.IntRange(0, LONGEST_S)


@click.command()
@click.argument("instance", shell_complete=complete)
@click.option("-d", "--duration", type=_DURATION, help="Seconds; by default 30 of a recording, and else one look.")
@click.option("--engine", type=_ENGINES, default="auto", show_default=True, help="What looks at it.")
@click.option("--snapshot", is_flag=True, help="Node: the whole heap too. This stops it for seconds.")
@click.option("-f", "--format", "form", type=_FORMATS, help="Also write a file in this format.")
@click.option("-o", "--output", type=_FILE, help="The name of that file, or -; where -f says nothing, pprof or json.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
def memory(
    instance: str,
    duration: int | None,
    engine: str,
    snapshot: bool,
    form: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say who holds the memory of a live INSTANCE, and who allocates it.

    INSTANCE is a name or a pid. What it will cost is said before it begins. Of every process there are its mappings, as
    the kernel counts them; objects by type and allocations by stack need the probe (`diag run`), Node, or Go. With -d
    two looks are compared, and what grew is shown. Ctrl-C ends early and keeps what there is.

    \b
    Examples:
      diag memory 4711                           where its memory is, at once, of any process
      diag memory 4711 -d 60                     and what grows in a minute
      diag memory shop --engine objects -d 60    objects by type, and which become more
      diag memory shop --engine tracemalloc      what is allocated now and not given back, by stack
      diag memory shop -f speedscope -o shop.speedscope.json
    """
    settings = config.load()
    target = registry.find(settings, instance)
    check_writable(output, as_json=as_json)
    asked = MemoryAsked(duration, snapshot)
    subject = taking.subject_of(target)
    if snapshot and subject.language != "node":
        raise UsageError(f"--snapshot is for Node, and pid {subject.pid} is {subject.runtime or 'unknown'}.")

    beside = "" if registry.names_process(instance) else _beside(target)
    taken_by = partial(_taken, asked, subject, settings, target, form, beside)
    try:
        taken = taken_by("node" if snapshot else engine)
    except NotAnswered as error:
        if engine != "auto":
            raise
        click.echo(f"{error} Its mappings are read instead.", err=True)
        taken = taken_by("smaps")
    written = taking.written(taken, settings, lambda: _written(taken, form, output, target))
    if as_json:
        summary = json.loads((taken.folder / NAME).read_bytes())
        print_json({"capture_id": taken.capture.capture_id, **summary})
    taking.conclude(taken, settings, written=written, beside_output=output == STDOUT, quiet=as_json)


def _taken(
    asked: MemoryAsked, subject: Subject, settings: Settings, target: Target, form: str | None, beside: str, engine: str
) -> Taken:
    """The capture by one engine. Raises what it refuses with, and UsageError where it has not what -f wants."""
    collector, why = taking.choose("memory", engine, asked, subject)
    if collector.engine in WITHOUT_STACKS and form in formats.WRITERS:
        raise UsageError(f"{collector.engine} has no stacks to write as {form}.", "-f json writes what there is.")
    click.echo(f"{why}{beside}", err=True)
    with taking.watching(f"memory of {target.name}") as watch:
        return take(
            collector,
            subject,
            kind="memory",
            settings=settings,
            watch=watch,
            refine=taking.politely(refining(why)),
            witness=lambda: taking.witness(target, whole=False),  # the requests of the process that is looked at
        )


def _beside(target: Target) -> str:
    """Which other processes the instance has: each holds its own memory, and the first may only wait for them."""
    others = [listed.pid for listed, _ in family.read().members(target) if listed.pid != target.pid]
    if not others:
        return ""
    few = ", ".join(map(str, others[:SHOWN])) + (", …" if len(others) > SHOWN else "")
    return f". Only its first process, {target.pid}, is looked at; the others have memory of their own: {few}"


def _written(taken: Taken, form: str | None, output: Path | None, target: Target) -> str | None:
    """The file that was asked for, by -f or -o. Raises DiagError where there are no stacks to write."""
    if form is None and output is None:
        return None
    profile = taken.folder / "profile.pb.gz"
    form = form or ("pprof" if profile.exists() else "json")
    suffix = ".json" if form == "json" else formats.SUFFIXES[form]
    path = output or Path(f"memory.{target.name}.{taking.moment_of(taken)}{suffix}")
    if form == "json":
        write_private(path, (taken.folder / NAME).read_bytes())
        return None if path == STDOUT else str(path)
    if not profile.exists():
        words = f"It was taken and is kept ({taken.capture.capture_id}), but there are no stacks to write as {form}."
        raise DiagError(words, "-f json writes what there is.")
    content = profile.read_bytes()
    write_private(path, content if form == "pprof" else formats.write(formats.read(content, "pprof"), form))
    return None if path == STDOUT else str(path)
