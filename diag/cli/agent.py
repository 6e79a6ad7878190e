"""`diag agent`: one process beside many instances."""

from __future__ import annotations

import click

from diag import config
from diag.cli.instances import complete


@click.command()
@click.option("--socket", metavar="PATH", help="Where instances join; by default agent/s in the run folder.")
@click.option(
    "-w",
    "--watch",
    multiple=True,
    metavar="INSTANCE",
    shell_complete=complete,
    help="Watch it from outside; repeatable.",
)
@click.option("--http", metavar="HOST:PORT", help="Answer the hooks on this address of the loopback, too.")
@click.option("--once", is_flag=True, help="End when the last of the instances that came has ended.")
@click.option("--store", metavar="URL", help="Where captures go: file:///… or http(s)://viewer (DIAG_STORE).")
@click.option("--print-env", is_flag=True, help="Print what a shell evaluates so that its Pythons join; start nothing.")
def agent(
    socket: str | None, watch: tuple[str, ...], http: str | None, once: bool, store: str | None, print_env: bool
) -> int:
    """Watch many instances at once, as a sidecar or a service of the machine does.

    A Python that has the variables of --print-env joins when it starts; in a container, with the folder of the socket
    mounted. What is named with --watch is watched from outside. Every end is recorded as far as somebody who is not the
    parent can see it. SIGTERM ends the agent, and no instance.

    \b
    Examples:
      diag agent &
      eval "$(diag agent --print-env)"; python app.py
      diag agent --watch web --watch 4711
      diag agent --http 127.0.0.1:4319         with hooks for a platform that freezes instances
    """
    settings = config.load({"store": store})
    if print_env:
        from diag.agent import meeting

        click.echo(meeting.variables(meeting.socket_of(settings, socket)))
        return 0
    from diag.agent.serving import serve

    return serve(settings, socket=socket, watch=watch, http=http, once=once)
