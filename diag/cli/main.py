"""The command group: commands load when they are used, errors end here with a sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys

import click

from diag import __version__
from diag.errors import DiagError

COMMANDS = {
    "run": "diag.cli.run:run",
    "agent": "diag.cli.agent:agent",
    "report": "diag.cli.report:report",
    "stacks": "diag.cli.stacks:stacks",
    "profile": "diag.cli.profile:profile",
    "memory": "diag.cli.memory:memory",
    "exec": "diag.cli.exec:exec_",
    "shell": "diag.cli.shell:shell",
    "tcpdump": "diag.cli.tcpdump:tcpdump",
    "ps": "diag.cli.ps:ps",
    "ls": "diag.cli.ls:ls",
    "show": "diag.cli.show:show",
    "get": "diag.cli.get:get",
    "diff": "diag.cli.diff:diff",
    "pin": "diag.cli.pin:pin",
    "unpin": "diag.cli.pin:unpin",
    "prune": "diag.cli.prune:prune",
    "flush": "diag.cli.flush:flush",
    "serve": "diag.cli.serve:serve",
    "doctor": "diag.cli.doctor:doctor",
}

# These show or send captures, so they first finish what a killed agent left.
FINISHING = ("ls", "show", "get", "diff", "report", "serve")


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="diag", message="%(prog)s %(version)s")
def diag() -> None:
    """Why did an instance die, and what is a live one doing right now?

    \b
    Examples:
      diag run --name shop -- gunicorn app:app     run it and catch whatever ends it
      diag ls                                      what was caught, newest first
      diag show 019f                               read one, by the start of its id
      diag report shop                             look at it now, without disturbing it
      diag stacks shop                             who waits for whom, and deadlocks
      diag tcpdump shop                            what it says over its network
      diag serve                                   the same as pages in a browser
    """


def run_command_line(arguments: list[str]) -> int:
    """Parse and run; returns the exit code. A DiagError is printed as a sentence and what to do next."""
    try:
        if arguments[:1] and arguments[0] in FINISHING:
            _finish_leftovers()
        result = diag.main(args=arguments, prog_name="diag", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except DiagError as error:
        complain(error)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `diag ls | head` does; the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13


def _finish_leftovers() -> None:
    from diag import spool
    from diag.agent.recover import leftovers, recover
    from diag.config import load

    try:
        settings = load()
        if leftovers(settings):
            recover(settings)
            spool.recover(settings)
    except DiagError as error:
        complain(error)  # what was asked for may work all the same


def complain(error: DiagError) -> None:
    """Print the failure and what to do next, on stderr."""
    print(f"diag: {error}", file=sys.stderr)
    for line in error.help_text.splitlines():
        print(f"  {line}", file=sys.stderr)
