"""`diag ls`: what was caught, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import click

from diag import config
from diag.cli.captures import Captures, Known
from diag.cli.output import Column, age, parse_since, print_json, print_table, short_ids
from diag.model import Capture, parse_stamp

COLUMNS = (
    Column("ID"),
    Column("AGE", right=True),
    Column("KIND", drop=7),
    Column("LEVEL", drop=1),
    Column("INSTANCE", narrow=12, drop=5),
    Column("PID", right=True, drop=4),
    Column("CAUSE", drop=2),
    Column("WHAT HAPPENED", main=True),
    Column("REQUEST", narrow=12, drop=3),
)
STATE = Column("STATE", drop=6)
GROUPS = (
    Column("TIMES", right=True),
    Column("LAST", right=True),
    Column("FIRST", right=True, drop=2),
    Column("CAUSE"),
    Column("INSTANCE", narrow=12, drop=3),
    Column("WHAT HAPPENED", main=True),
    Column("GROUP", drop=1),
    Column("NEWEST"),
)
_STYLES = {"crash": "red", "event": "yellow"}
_LISTED, _IN_GROUPS = 50, 1000
_NEIGHBOURS = 500  # how many more ids are looked at, so that a short id does not name two captures


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for; None asks for nothing."""

    kind: str | None
    instance: str | None
    request: str | None
    trace: str | None

    def matches(self, capture: Capture) -> bool:
        """Whether the capture is asked for."""
        who = capture.instance
        return (
            self.kind in (None, capture.kind)
            and self.instance in (None, who.name, who.instance_id, str(who.pid))
            and (self.request is None or any(link.request_id == self.request for link in capture.links))
            and (self.trace is None or any(link.trace_id == self.trace.lower() for link in capture.links if self.trace))
        )


@click.command()
@click.option("--kind", metavar="K", help="Only this kind: crash, event, report, profile, …")
@click.option("--instance", metavar="NAME", help="Only this instance: its name, its id, or a pid.")
@click.option("--request", metavar="ID", help="Only what belongs to this request id.")
@click.option("--trace", metavar="ID", help="Only what belongs to this trace id.")
@click.option("--since", metavar="TIME", help="Only what is younger: 2h, 3d, or an ISO date or time.")
@click.option("--limit", type=click.IntRange(1), help="At most so many captures.  [default: 50; for --groups 1000]")
@click.option("--groups", is_flag=True, help="One line a fingerprint: how often, since when, of what cause.")
@click.option("--json", "as_json", is_flag=True, help="An array of manifests, for programs.")
def ls(
    kind: str | None,
    instance: str | None,
    request: str | None,
    trace: str | None,
    since: str | None,
    limit: int | None,
    groups: bool,
    as_json: bool,
) -> None:
    """List what was caught, newest first: in the store, and waiting in the spool.

    \b
    Examples:
      diag ls                              the last 50
      diag ls --kind crash --since 2h      what died in the last two hours
      diag ls --groups --kind crash        how often each cause was seen
      diag ls --instance shop              one instance, by name, id or pid
      diag ls --request 7f3a-checkout      everything about one request
      diag ls --json | jq '.[].title'      for programs
    """
    wanted = Wanted(kind, instance, request, trace)
    limit = limit or (_IN_GROUPS if groups else _LISTED)
    captures = Captures(config.load())
    ids: list[str] = []
    found = captures.newest(parse_since(since) if since else None)
    rows: list[Known] = []
    for one in found:
        ids.append(one.capture.capture_id)
        if wanted.matches(one.capture):
            rows.append(one)
            if len(rows) == limit:
                break
    if as_json and groups:
        print_json([one.to_json() for one in _groups(rows)])
    elif as_json:
        print_json([one.to_json() for one in rows])
    elif rows:
        ids += [one.capture.capture_id for one in islice(found, _NEIGHBOURS if len(ids) < _NEIGHBOURS else 0)]
        (_show_groups if groups else _show)(rows, ids)
    elif captures.trouble is None:
        click.echo(_nothing(bool(ids), since))
    if captures.trouble is not None:
        raise captures.trouble


def _show(rows: list[Known], ids: Sequence[str]) -> None:
    short = short_ids(ids)
    special = any(one.waiting or one.pinned for one in rows)
    columns = (*COLUMNS, STATE) if special else COLUMNS
    print_table(
        columns, [_cells(one, short)[: len(columns)] for one in rows], [_style(one)[: len(columns)] for one in rows]
    )


def _cells(one: Known, short: dict[str, str]) -> tuple[str, ...]:
    capture = one.capture
    request = next((link.request_id for link in capture.links if link.request_id), "")
    return (
        short[capture.capture_id],
        age(parse_stamp(capture.time)),
        capture.kind,
        "" if capture.level == "EVENT" else capture.level or "",
        capture.instance.name,
        str(capture.instance.pid),
        _cause(capture),
        (f"×{capture.repeats + 1} " if capture.repeats else "") + capture.title,
        request or "",
        _state(one),
    )


def _cause(capture: Capture) -> str:
    return str((capture.verdict or {}).get("cause") or "")


@dataclass(frozen=True, slots=True)
class Group:
    """The captures of one fingerprint, newest first."""

    captures: tuple[Capture, ...]

    @property
    def times(self) -> int:
        """How often it happened, with those of crash loops that were counted and not kept."""
        return sum(1 + capture.repeats for capture in self.captures)

    def to_json(self) -> dict[str, object]:
        """As `diag ls --groups --json` prints it."""
        newest, oldest = self.captures[0], self.captures[-1]
        return {
            "fingerprint": newest.fingerprint,
            "times": self.times,
            "cause": _cause(newest),
            "title": newest.title,
            "first": oldest.time,
            "last": newest.time,
            "instances": sorted({capture.instance.name for capture in self.captures}),
            "newest": newest.capture_id,
        }


def _groups(rows: list[Known]) -> list[Group]:
    """One for each fingerprint, the one seen last first."""
    found: dict[str, list[Capture]] = {}
    for one in rows:
        if one.capture.fingerprint:
            found.setdefault(one.capture.fingerprint, []).append(one.capture)
    return [Group(tuple(captures)) for captures in found.values()]


def _show_groups(rows: list[Known], ids: Sequence[str]) -> None:
    short = short_ids(ids)
    cells = [_group_cells(group, short) for group in _groups(rows)]
    print_table(GROUPS, cells, [("bold", "dim", "dim", "", "", "", "dim", "bold")] * len(cells))


def _group_cells(group: Group, short: dict[str, str]) -> tuple[str, ...]:
    newest = group.captures[0]
    names = {capture.instance.name for capture in group.captures}
    return (
        str(group.times),
        age(parse_stamp(newest.time)),
        age(parse_stamp(group.captures[-1].time)),
        _cause(newest),
        newest.instance.name if len(names) == 1 else f"{len(names)} instances",
        newest.title,
        newest.fingerprint or "",
        short[newest.capture_id],
    )


def _state(one: Known) -> str:
    return ("waiting, pinned" if one.pinned else "waiting") if one.waiting else "pinned" if one.pinned else "stored"


def _style(one: Known) -> tuple[str, ...]:
    state = "yellow" if one.waiting else "dim"
    return ("bold", "dim", _STYLES.get(one.capture.kind, ""), "dim", "", "dim", "dim", "", "dim", state)


def _nothing(any_captures: bool, since: str | None) -> str:
    if any_captures:
        return "Nothing matches. `diag ls` without options shows what there is."
    if since:
        return f"Nothing was caught since {since}. `diag ls` without options shows what there is."
    return "Nothing was caught yet. `diag run -- COMMAND` watches a program, `diag report PID` looks at one."
