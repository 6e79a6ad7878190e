"""`diag tcpdump`: what a live instance says over its network, and what it is told."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import click

from diag import config
from diag.agent import registry
from diag.capture.packets import NAME, refining
from diag.capture.take import Taken, take
from diag.cli import taking
from diag.cli.instances import complete
from diag.cli.output import STDOUT, check_writable, write_private
from diag.cli.seconds import Seconds
from diag.collectors.asked import (
    LARGEST_BYTES,
    LARGEST_SNAPLEN,
    LONGEST_S,
    SMALLEST_BYTES,
    SMALLEST_SNAPLEN,
    PacketsAsked,
)
from diag.config import Settings
from diag.packets.read import Payload

_PAYLOADS = click.Choice(["none", "heads", "full"])
_FILE = click.Path(path_type=Path, dir_okay=False)
_DURATION = Seconds(0.1, LONGEST_S)
_SNAPLEN = click.IntRange(SMALLEST_SNAPLEN, LARGEST_SNAPLEN)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})([KMG]?)(?:i?B)?\Z", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes, as `64M`: units of 1024."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes; fails beyond the limits."""
        if isinstance(value, int):
            return value
        found = _SIZE.match(str(value))
        size = int(found[1]) * _UNITS[found[2].upper()] if found else 0
        if not SMALLEST_BYTES <= size <= LARGEST_BYTES:
            self.fail(f"{value!r} is no size between {SMALLEST_BYTES >> 10}K and {LARGEST_BYTES >> 30}G.", param, ctx)
        return size


@click.command()
@click.argument("instance", shell_complete=complete)
@click.argument("filter", nargs=-1, type=click.UNPROCESSED)
@click.option("-d", "--duration", type=_DURATION, default=30, show_default=True, help="Seconds.")
@click.option("--max-size", type=Size(), default="64M", show_default=True, help="End when the file is this large.")
@click.option("--snaplen", type=_SNAPLEN, default=1600, show_default=True, help="Bytes of each packet.")
@click.option("--ring", is_flag=True, help="Go on when the file is full: keep the last packets, not the first.")
@click.option("--own", is_flag=True, help="Only ports that the process itself has open when this begins.")
@click.option("--payload", type=_PAYLOADS, default="heads", show_default=True, help="What stays in the file.")
@click.option("-o", "--output", type=_FILE, help="Also write the .pcap here; - is standard output.")
def tcpdump(
    instance: str,
    filter: tuple[str, ...],  # noqa: A002 - what it is called in the usage
    duration: float,
    max_size: int,
    snaplen: int,
    ring: bool,
    own: bool,
    payload: Payload,
    output: Path | None,
) -> None:
    """Capture the packets of a live INSTANCE's network namespace for some seconds, and say what they say.

    FILTER are words of pcap-filter(7). HTTP, DNS, Redis, MySQL, PostgreSQL, Kafka and TLS handshakes are decoded, with
    their latencies and request ids. Values and bodies are blanked in the file: --payload full keeps them, and then it
    can hold any secret. Ctrl-C ends early and keeps what there is.

    \b
    Examples:
      diag tcpdump shop                        thirty seconds of everything
      diag tcpdump 4711 -d 10 tcp port 5432    what it asks its database
      diag tcpdump shop --ring -d 600          the last 64M of ten minutes
      diag tcpdump shop --payload none -o shop.pcap
    """
    settings = config.load()
    target = registry.find(settings, instance)
    check_writable(output)
    asked = PacketsAsked(duration, max_size, snaplen, ring, own, filter, _apart(settings))
    subject = taking.subject_of(target)
    collector, why = taking.choose("packets", "auto", asked, subject)
    click.echo(why, err=True)
    with taking.watching(f"packets of {target.name}") as watch:
        taken = take(
            collector,
            subject,
            kind="packets",
            settings=settings,
            watch=watch,
            refine=taking.politely(refining(payload)),
            witness=lambda: taking.witness(target, not instance.isdecimal()),
        )
    written = taking.written(taken, settings, lambda: _written(taken, output))
    taking.conclude(taken, settings, written=written, beside_output=output == STDOUT)


def _apart(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Where captures are sent, if that is a viewer: that is our own traffic. A bucket may be the instance's too."""
    url = urlsplit(settings.store)
    if url.scheme not in ("http", "https") or not url.hostname:
        return ()
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return ()  # not reachable, so nothing is said with it
    return tuple(dict.fromkeys((str(one[4][0]), port) for one in found))[:4]


def _written(taken: Taken, output: Path | None) -> str | None:
    """The file that was asked for by -o."""
    if output is None:
        return None
    write_private(output, taken.folder / NAME)
    return None if output == STDOUT else str(output)
