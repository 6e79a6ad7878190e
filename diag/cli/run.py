"""`diag run`: start a command with `diag` beside it."""

from __future__ import annotations

from typing import Any

# Read without click, whose import alone takes longer than a small program runs: the child comes first.
_VALUES = {"--name": "name", "-n": "name", "--service": "service", "--store": "store", "--hang-after": "hang_after"}
_REPEATED = {"--label": "labels", "-l": "labels"}
_SWITCHES = {"--locals": "locals"}


def start_quickly(arguments: list[str]) -> int | None:
    """Run the command if the arguments are plain; None leaves help, completion and every mistake to click."""
    parsed = _parse(arguments)
    return None if parsed is None else _start(*parsed)


def _parse(arguments: list[str]) -> tuple[dict[str, Any], list[str]] | None:
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word, _, attached = rest.pop(0).partition("=")
        if word == "--" and not attached:
            break
        if word in _SWITCHES and not attached:
            values[_SWITCHES[word]] = True
            continue
        if word not in _VALUES and word not in _REPEATED:
            return None
        if not attached and not rest:
            return None
        value = attached or rest.pop(0)
        if word in _REPEATED:
            values.setdefault(_REPEATED[word], []).append(value)
        else:
            values[_VALUES[word]] = value
    return (values, rest) if rest else None


def _start(flags: dict[str, Any], command: list[str]) -> int:
    from diag.agent.run import run_command
    from diag.config import load
    from diag.errors import DiagError

    name = flags.pop("name", None)
    try:
        if "labels" in flags:
            flags["labels"] = ",".join(flags["labels"])
        return run_command(command, load(flags), name=name)
    except DiagError as error:
        from diag.cli.main import complain

        complain(error)
        return error.exit_code


def __getattr__(name: str) -> Any:
    """`run`, the click command: made when the command line is not plain, or help is asked for."""
    if name != "run":
        raise AttributeError(name)
    return _click_command()


def _click_command() -> Any:
    import click

    @click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
    @click.option("-n", "--name", help="What to call the instance; by default the command's own name.")
    @click.option("--service", help="The service it belongs to; by default OTEL_SERVICE_NAME, or the name.")
    @click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="A label on every capture; repeatable.")
    @click.option("--store", metavar="URL", help="Where captures go: file:///… or http(s)://viewer (DIAG_STORE).")
    @click.option("--locals", is_flag=True, default=None, help="Put local variables, redacted, into crash reports.")
    @click.option("--hang-after", metavar="SECONDS", help="How old a request is looked at (DIAG_HANG_AFTER); 0: never.")
    @click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
    def run(command: tuple[str, ...], **flags: Any) -> int:
        """Run COMMAND and catch whatever ends it.

        Its exit status (128+n for a signal), signals, input, output and terminal are its own. Every Python process it
        starts is watched as well. 126: not executable; 127: not found.

        \b
        Examples:
          diag run -- python app.py
          diag run --name shop --label zone=b -- gunicorn app:app --workers 2
          DIAG_STORE=https://viewer.example diag run -- python worker.py
        """
        given = {key: list(value) if key == "labels" else value for key, value in flags.items() if value}
        return _start(given, list(command))

    return run
