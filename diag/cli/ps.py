"""`diag ps`: the instances on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from diag import config
from diag.agent import registry
from diag.agent.containers import Container, Containers
from diag.agent.naming import SHOWN_RUNTIMES, own_command, program_of
from diag.agent.registry import Target
from diag.cli import family
from diag.collectors.proc import Listed, command_of, start_time
from diag.collectors.runtime import runtime_of
from diag.config import Settings
from diag.errors import NoSuchInstance
from diag.model import now, stamp


@dataclass(frozen=True, slots=True)
class Row:
    """One process. `depth` is 0 for an instance's first process, and more for those it started."""

    process: Listed
    name: str
    runtime: str
    linked: bool
    started: datetime
    target: Target | None = None
    depth: int = 0
    container: Container | None = None

    def to_json(self) -> dict[str, Any]:
        """The row of `diag ps --json`."""
        return {
            "name": self.name,
            "pid": self.process.pid,
            "parent_pid": self.process.parent_pid,
            "instance": self.target.name if self.target else None,
            "instance_id": self.target.instance_id if self.target else None,
            "service": self.target.service if self.target else None,
            "runtime": self.runtime,
            "start_time": stamp(self.started),
            "uptime_s": round((now() - self.started).total_seconds(), 3),
            "rss_bytes": self.process.rss_bytes,
            "probe": "linked" if self.linked else "absent",
            "container": {"id": self.container.container_id, "name": self.container.name} if self.container else None,
        }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="An array of processes, for programs.")
def ps(as_json: bool) -> None:
    """List the instances on this machine, then other Python and Node processes that can be looked at.

    An instance that `diag run` started has a name; every process is also reached by its pid. The probe is linked
    where it runs inside: then a crash is caught in full, and requests are known.

    \b
    Examples:
      diag ps                          what runs here
      diag ps --json | jq '.[].pid'    for programs
      diag report shop                 look at one of them now
    """
    rows = list(list_rows(config.load()))
    if as_json:
        click.echo(json.dumps([row.to_json() for row in rows], indent=2))
    elif rows:
        show(rows)
    else:
        click.echo("No instances here. `diag run --name NAME -- COMMAND` starts one.")


def list_rows(settings: Settings) -> Iterator[Row]:
    """Instances with their processes as trees, oldest first; then the processes of nobody's."""
    everybody, containers = family.read(), Containers()
    instances = registry.running(settings)
    agents = {target.agent_pid for target in instances if target.agent_pid}
    # Beside its instance an agent has a helper process of ours, which is nobody's instance.
    shown = {os.getpid(), *agents, *(pid for agent in agents for pid in everybody.children.get(agent, ()))}
    for target in instances:
        for process, depth in everybody.members(target):
            shown.add(process.pid)
            yield from _row(process, containers, target, depth)
    for process in everybody.processes.values():
        if process.pid not in shown:
            yield from (row for row in _row(process, containers, None, 0) if row.runtime.startswith(SHOWN_RUNTIMES))


def _row(process: Listed, containers: Containers, target: Target | None, depth: int) -> Iterable[Row]:
    try:
        if not target and _is_guard(process):
            return
        runtime = runtime_of(process.pid)
        own = None if target else own_command(process.pid)
        name = target.name if target and not depth else own or program_of(process.pid, process.name)
    except NoSuchInstance:
        return  # it ended since the listing
    linked = target is not None and registry.black_box(target.run_dir, process.pid) is not None
    started = start_time(process.start_ticks)
    yield Row(process, name, runtime or "unknown", linked, started, target, depth, containers.of(process.pid))


def _is_guard(process: Listed) -> bool:
    """Whether it is the helper process that an agent has forked, and nothing of anybody's."""
    own = own_command(process.pid)
    return own in ("diag agent", "diag run") and command_of(process.pid) == command_of(process.parent_pid)


def show(rows: list[Row]) -> None:
    """Print the rows as a table: instances as trees, then the processes of nobody's."""
    from diag.cli.output import Column, print_table, size
    from diag.report.reading import duration

    contained = any(row.container for row in rows)
    columns = [
        Column("NAME", main=True),
        Column("PID", right=True),
        *([Column("CONTAINER", narrow=12, drop=1)] if contained else []),
        Column("RUNTIME", narrow=10),
        Column("UPTIME", right=True),
        Column("MEMORY", right=True),
        Column("PROBE"),
    ]
    cells = [
        (
            f"{'  ' * (row.depth - 1)}└ {row.name}" if row.depth else row.name,
            str(row.process.pid),
            *([row.container.name if row.container else ""] if contained else []),
            row.runtime,
            duration(max(0.0, (now() - row.started).total_seconds())),
            size(row.process.rss_bytes),
            "✓ linked" if row.linked else "– absent",
        )
        for row in rows
    ]
    plain = [""] * (len(columns) - 2)
    styles = [["bold" if row.target and not row.depth else "", *plain, _tone(row)] for row in rows]
    print_table(columns, cells, styles)


def _tone(row: Row) -> str:
    return "green" if row.linked else "dim"
