"""`diag agent`: one process beside many instances."""

from __future__ import annotations

import click

from diag import config
from diag.cli.instances import complete
from diag.errors import UsageError


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
@click.option("--core-pattern", is_flag=True, help="Be the kernel's core handler until the end: needs root.")
@click.option("--keep-cores", is_flag=True, help="With --core-pattern: leave the core files in the state folder.")
@click.option("--core-uid", type=int, metavar="UID", help="With --core-pattern: only crashes of this user.")
@click.option("--once", is_flag=True, help="End when the last of the instances that came has ended.")
@click.option("--store", metavar="URL", help="Where captures go: file:///… or http(s)://viewer (DIAG_STORE).")
@click.option("--print-env", is_flag=True, help="Print what a shell evaluates so that its Pythons join; start nothing.")
def agent(
    socket: str | None,
    watch: tuple[str, ...],
    http: str | None,
    core_pattern: bool,
    keep_cores: bool,
    core_uid: int | None,
    once: bool,
    store: str | None,
    print_env: bool,
) -> int:
    """Watch many instances at once, as a sidecar or a service of the machine does.

    A Python that has the variables of --print-env joins when it starts; in a container, with the folder of the socket
    mounted. What is named with --watch is watched from outside. Every end is recorded as far as somebody who is not the
    parent can see it. SIGTERM ends the agent, and no instance.

    With --core-pattern every crash on the machine that dumps core leaves a record, of programs that nobody has
    prepared, too; what kernel.core_pattern was before is put back at the end.

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
    if not core_pattern and (keep_cores or core_uid is not None):
        raise UsageError("--keep-cores and --core-uid say what the core handler does.", "Add --core-pattern.")
    from diag.agent.core_pattern import Options
    from diag.agent.serving import serve

    cores = Options(keep_cores=keep_cores, only_uid=core_uid) if core_pattern else None
    return serve(settings, socket=socket, watch=watch, http=http, once=once, cores=cores)
