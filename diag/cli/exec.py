"""`diag exec`: a command beside an instance, and its transcript as a capture."""

from __future__ import annotations

import os

import click

from diag import config
from diag.agent import registry
from diag.capture.take import take
from diag.capture.transcripts import refiner, unfinished
from diag.cli.instances import complete
from diag.cli.main import complain
from diag.cli.seconds import Seconds
from diag.cli.taking import choose, conclude, subject_of
from diag.collectors.asked import ExecAsked
from diag.collectors.collector import Watch
from diag.errors import NotUploaded, UsageError

SECONDS = Seconds(min=0)


@click.command(name="exec")
@click.argument("instance", shell_complete=complete)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--tty/--no-tty", default=None, help="A terminal for the command; by default where this is one.")
@click.option("--host-tools", is_flag=True, help="A program of this machine, for instances that have none.")
@click.option("--timeout", type=SECONDS, default=0, metavar="S", help="End it after so many seconds; 0 is never.")
@click.option("--idle-timeout", type=SECONDS, default=0, metavar="S", help="End it when it was silent for so long.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of the transcript on standard error.")
def exec_(
    instance: str,
    command: tuple[str, ...],
    tty: bool | None,
    host_tools: bool,
    timeout: float,
    idle_timeout: float,
    quiet: bool,
) -> int:
    """Run COMMAND beside INSTANCE: in its namespaces, as its user, with its environment.

    What it writes is passed through and kept as a capture, with secrets masked; what is typed is not recorded. The exit
    status is the command's own (128+n for a signal; 124 at a time limit, 126 and 127 where it could not be started).
    When it ends, everything that it has started is ended too.

    \b
    Examples:
      diag exec shop -- ls -l /proc/self/fd
      diag exec --timeout 10 web:7 -- python -c 'import app; print(app.__file__)'
      diag exec --host-tools web -- ss -tnp           an image without tools of its own
    """
    with_terminal = os.isatty(0) and os.isatty(1) if tty is None else tty
    asked = ExecAsked((command,), with_terminal, host_tools, timeout, idle_timeout)
    return run_beside(instance, asked, "exec", quiet=quiet)


def run_beside(instance: str, asked: ExecAsked, verb: str, *, quiet: bool) -> int:
    """Run it, keep the transcript, and return the exit status to end with."""
    if any("\0" in word for command in asked.commands for word in command):
        raise UsageError("A command's words cannot hold a NUL character.")
    settings = config.load()
    subject = subject_of(registry.find(settings, instance))
    collector, _ = choose("exec", "auto", asked, subject)
    # It neither stops the process nor slows it, so other captures may go on meanwhile.
    watch = Watch(tell=lambda words: click.echo(f"diag: {words}", err=True))
    taken = take(
        collector,
        subject,
        kind="exec",
        settings=settings,
        watch=watch,
        refine=refiner(verb),
        alone=False,
        unfinished=unfinished(verb, asked.commands[0]),
    )
    try:
        conclude(taken, settings, beside_output=True, quiet=quiet)
    except NotUploaded as error:
        complain(error)  # the exit status belongs to the command
    return int(taken.status)
