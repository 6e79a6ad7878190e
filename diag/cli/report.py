"""`diag report`: look at a live instance now, without disturbing it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from diag import config
from diag.agent import blackbox, history, registry
from diag.agent.node_live import with_node
from diag.agent.registry import Target
from diag.capture import cores, reports
from diag.capture.reports import Prepared
from diag.cli import family
from diag.cli.instances import complete
from diag.cli.output import STDOUT, check_writable, write_private
from diag.collectors.inside import ask_inside
from diag.collectors.live import look
from diag.collectors.threads import Depth
from diag.config import Settings
from diag.errors import CannotAttach, DiagError, NoSuchInstance, NotUploaded, SpoolUnwritable, UsageError
from diag.evidence import Evidence
from diag.model import Cost, Instance, Missing


@click.command()
@click.argument("instance", required=False, shell_complete=complete)
@click.option("--core", type=click.Path(path_type=Path, dir_okay=False), help="Of a core file, instead of an INSTANCE.")
@click.option("--exe", type=click.Path(path_type=Path, dir_okay=False), help="The program that the core file is of.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output, nothing else.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write it here; - is stdout."
)
@click.option("-f", "--format", "form", type=click.Choice(["json", "html"]), default="json", help="Of the file: -o.")
@click.option("--locals", "with_locals", is_flag=True, help="Local variables, redacted. Stops the process while read.")
@click.option("--native", is_flag=True, help="C frames among the Python frames. Stops the process while read.")
def report(
    instance: str | None,
    core: Path | None,
    exe: Path | None,
    as_json: bool,
    output: Path | None,
    form: str,
    with_locals: bool,
    native: bool,
) -> None:
    """Report on a live INSTANCE: what every thread does, memory, limits, requests in flight; or on a core file.

    INSTANCE is a name, which covers all processes of the instance, or a pid, which need not have been started by diag.
    The process runs on while it is read; --locals and --native stop it for 3 to 100 ms, and the report says for how
    long. The report is kept like every capture.

    With --core it is the report of a crash, read from the core file that the kernel wrote: signal, fault, registers,
    all threads with their C frames, and of a Python, by pystack, their Python frames.

    \b
    Examples:
      diag report shop                     an instance that `diag run --name shop` started
      diag report 4711 --native            any process you may read, with its C frames
      diag report shop --json | jq '.threads[].frames[0].function'
      diag report shop -o report.json
      diag report shop -f html -o report.html   one page that can be sent to somebody
      diag report --core core.4711         a crash that nobody watched, from its core file
      diag report --core core.4711 --exe ./shop
    """
    if form == "html" and output is None:
        raise UsageError("`-f html` writes a file, and none is named.", "Say where to: `-o report.html`.")
    check_writable(output, as_json=as_json)
    settings = config.load()
    if core is not None:
        _check_alone(instance)
        evidence = cores.evidence_of(core, exe, settings, with_locals=with_locals)
        kind = cores.kind_of(evidence)
    else:
        evidence = _look(_checked(instance, exe), settings, Depth(locals=with_locals, native=native))
        kind = "report"
    prepared = reports.prepare(evidence, settings=settings, kind=kind)
    _conclude(prepared, settings, output, form, as_json=as_json)


def _conclude(prepared: Prepared, settings: Settings, output: Path | None, form: str, *, as_json: bool) -> None:
    """Keep it, show it, write it, send it; what fails of this is raised when the rest is done."""
    try:
        kept = reports.keep(prepared, settings=settings)  # first: nothing is lost where it cannot be written
    except SpoolUnwritable:
        _print(prepared, output, as_json=as_json)
        _write(prepared, output, form)
        raise
    _print(prepared, output, as_json=as_json)
    if not as_json:
        print(f"\nKept; read it again with: diag show {prepared.capture.capture_id}", file=sys.stderr)
    try:
        _write(prepared, output, form)
    except DiagError:
        with suppress(NotUploaded):  # it waits in the spool
            reports.deliver(kept, settings=settings)
        raise
    reports.deliver(kept, settings=settings)


def _write(prepared: Prepared, output: Path | None, form: str) -> None:
    """The file, where one was asked for. Raises DiagError where it cannot be written."""
    if output is not None:
        write_private(output, _content(prepared, form))


def _content(prepared: Prepared, form: str) -> bytes:
    if form == "json":
        return reports.encode(prepared.report)
    from diag.report import html_write

    return html_write.write(prepared.report, prepared.capture.title)


def _check_alone(instance: str | None) -> None:
    if instance is not None:
        raise UsageError("--core reads a file, and an INSTANCE is looked at alive: name one of them.")


def _checked(instance: str | None, exe: Path | None) -> str:
    if exe is not None:
        raise UsageError("--exe belongs to a core file.", "Name the core file with --core.")
    if instance is None:
        raise UsageError("Which INSTANCE?", "Name one (`diag ps` lists them), or a core file with --core.")
    return instance


def _look(instance: str, settings: Settings, depth: Depth) -> Evidence:
    target = registry.find(settings, instance)
    return _look_at_one(target, depth) if registry.names_process(instance) else _look_at_all(target, depth)


def _look_at_all(target: Target, depth: Depth) -> Evidence:
    """The instance's first process, with the others as its children."""
    members = [process.pid for process, level in family.read().members(target) if level]
    first = _look_at_one(target, depth)
    children: list[Evidence] = []
    missing: list[Missing] = []
    for pid in members:
        try:
            children.append(_look_at_one(replace(target, pid=pid, start_time=""), depth))
        except NoSuchInstance:
            continue  # a worker that ended since the listing
        except CannotAttach as error:
            missing.append(Missing("workers", f"{error} {error.help_text}"))
    costs = [first.cost, *(child.cost for child in children)]
    return replace(
        first,
        children=tuple(children),
        links=tuple(dict.fromkeys(link for seen in (first, *children) for link in seen.links)),
        incomplete=(*first.incomplete, *missing),
        cost=Cost(sum(c.pause_s for c in costs), sum(c.cpu_s for c in costs), sum(c.duration_s for c in costs)),
    )


def _look_at_one(target: Target, depth: Depth) -> Evidence:
    box = registry.black_box(target.run_dir, target.pid)
    instance = Instance(
        service=target.service,
        name=target.name,
        instance_id=target.instance_id,
        host=target.host or os.uname().nodename,
        pid=target.pid,
        start_time=target.start_time,
        labels=target.labels,
    )
    evidence = look(instance, witness=blackbox.read(box) if box else None, depth=depth)
    evidence = ask_inside(with_node(evidence), target.run_dir, None)
    if target.run_dir is not None and (ticks := registry.start_ticks(target.pid)) is not None:
        evidence = replace(evidence, samples=history.read(registry.history_path(target.run_dir, target.pid, ticks)))
    return replace(evidence, instance=replace(evidence.instance, parent=_parent(target, evidence)))


def _parent(target: Target, evidence: Evidence) -> dict[str, object] | None:
    """The process of the instance that started this one; None for its first."""
    from diag.collectors.proc import start_ticks, start_time
    from diag.model import stamp

    parent = evidence.process.parent_pid if evidence.process else 0
    if target.run_dir is None or parent in (0, target.agent_pid):
        return None
    try:
        return {"pid": parent, "start_time": stamp(start_time(start_ticks(parent)))}
    except NoSuchInstance:
        return None


def _print(prepared: Prepared, output: Path | None, *, as_json: bool) -> None:
    from diag.cli import screen
    from diag.report.render import render

    if output == STDOUT:
        return  # which the file is
    if as_json:
        click.echo(reports.encode(prepared.report), nl=False)
    else:
        text = render(prepared.report, color=screen.colored(), width=screen.width())
        click.echo(text, nl=False, color=screen.colored())
