"""`diag shell`: a shell beside an instance."""

from __future__ import annotations

import os

import click

from diag.cli.exec import SECONDS, run_beside
from diag.cli.instances import complete
from diag.collectors.asked import ExecAsked
from diag.errors import UsageError

SHELLS = (("bash",), ("sh",), ("/bin/bash",), ("/bin/sh",), ("ash",), ("/busybox/sh",))
IDLE_S = 900.0


@click.command()
@click.argument("instance", shell_complete=complete)
@click.option("--host-tools", is_flag=True, help="This machine's shell and programs, even where the instance has some.")
@click.option("--timeout", type=SECONDS, default=0, metavar="S", help="End it after so many seconds; 0 is never.")
@click.option(
    "--idle-timeout",
    type=SECONDS,
    default=IDLE_S,
    show_default=True,
    metavar="S",
    help="End it when nothing was written or typed for so long; 0 is never.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of the transcript on standard error.")
def shell(instance: str, host_tools: bool, timeout: float, idle_timeout: float, quiet: bool) -> int:
    """Open a shell beside INSTANCE: in its namespaces, as its user, with its environment.

    Where the instance has no shell, it is this machine's, with this machine's programs; the files of the instance are
    in /instance then. What is shown is kept as a capture, with secrets masked. When the shell ends, so does everything
    that was started in it.

    \b
    Examples:
      diag shell shop
      diag shell --host-tools web          strace, ss, gdb of this machine, in the instance's namespaces
      diag shell --idle-timeout 0 4711
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError("A shell needs a terminal.", "Without one: diag exec INSTANCE -- sh -c 'COMMANDS'")
    asked = ExecAsked(SHELLS, True, True if host_tools else None, timeout, idle_timeout)
    return run_beside(instance, asked, "shell", quiet=quiet)
