"""`diag pin`, `diag unpin`: keep a capture, whatever the rules say."""

from __future__ import annotations

import getpass
import os
import socket

import click

from diag import config
from diag.cli.captures import Captures
from diag.cli.output import age, print_json
from diag.errors import NoSuchCapture
from diag.model import parse_stamp, valid_id
from diag.upload import pins


@click.command()
@click.argument("capture_id", metavar="ID")
@click.option("--reason", metavar="TEXT", default="", help="Why it is kept; secrets in it are removed.")
@click.option("--json", "as_json", is_flag=True, help="The pin as an object, for programs.")
def pin(capture_id: str, reason: str, as_json: bool) -> None:
    """Pin capture ID: no rule of `diag prune` removes it until it is unpinned.

    ID may be the start of an id, as `diag ls` shows it. The pin stands in the store, for everybody.

    \b
    Examples:
      diag pin 019f3c1a --reason "for the post-mortem of 12 March"
      diag ls --json | jq '.[] | select(.pinned).capture_id'
    """
    captures = Captures(config.load())
    known = captures.find(capture_id)
    found = pins.pin(
        captures.store, captures.tenant, known.capture.capture_id, _who(), reason, stored=known.waiting is None
    )
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(described(found))


@click.command()
@click.argument("capture_id", metavar="ID")
def unpin(capture_id: str) -> None:
    """Take the pin of capture ID away, so that the rules apply to it again.

    \b
    Examples:
      diag unpin 019f3c1a
    """
    captures = Captures(config.load())
    try:
        wanted = captures.find(capture_id).capture.capture_id
    except NoSuchCapture:
        wanted = capture_id.strip().lower()
        if not valid_id(wanted):  # a pin may be left of a capture that somebody has deleted
            raise
    gone = pins.unpin(captures.store, captures.tenant, wanted)
    click.echo(f"{wanted} is no longer pinned." if gone else f"{wanted} was not pinned.")


def described(found: pins.Pin) -> str:
    """The pin in one line."""
    why = f": {found.reason}" if found.reason else ""
    return f"{found.capture_id} is pinned since {age(parse_stamp(found.time))} by {found.by}{why}"


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without an entry, as in many containers
        user = f"uid {os.geteuid()}"
    return f"{user} on {socket.gethostname()}"
