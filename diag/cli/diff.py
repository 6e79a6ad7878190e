"""`diag diff`: what changed between two profiles, or two reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import click

from diag import config
from diag.cli.captures import Captures, Known
from diag.cli.output import Column, print_json, print_table
from diag.cli.profile_tables import percent
from diag.errors import BadProfile, DiagError, UsageError
from diag.model import Capture, parse_stamp
from diag.profiles import diff as profile_diff
from diag.profiles import formats, places
from diag.profiles.model import Profile
from diag.profiles.tables import function_of
from diag.report import diff as report_diff
from diag.report.healthy import LOOKED_AT, changed, is_healthy
from diag.report.reading import duration
from diag.report.schema import mistake

_SIZE_LIMIT = 512 * 1024 * 1024
_ROWS = 20
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: what to call it, `profile` or `report`, and the profile or the report's JSON."""

    name: str
    kind: str
    value: Any


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=_ROWS, show_default=True, help="Rows a table.")
@click.option("--json", "as_json", is_flag=True, help="All that changed, for programs.")
def diff(a: str, b: str | None, limit: int, as_json: bool) -> None:
    """Show what changed from A to B: two profiles, or two reports.

    With A alone, a crash: what changed since the last healthy report of its instance, or else of its service, what
    changed most first.

    A and B are captures, by id or the start of one, or paths of files: profiles in any format that diag reads, or
    reports. Of profiles the shares are compared, so that it makes no difference how long each was recorded.

    \b
    Examples:
      diag diff 019f3c1a 019f4d2b           before and after a change
      diag diff 019f3c1a                    a crash, against how it was when it was well
      diag diff before.pb.gz after.pb.gz    files that any profiler wrote
      diag diff 019f3c1a 019f4d2b --json | jq '.functions[:3]'
    """
    if b is None:
        _since_healthy(a, limit, as_json)
        return
    before, after = _side(a), _side(b)
    if before.kind != after.kind:
        raise UsageError(
            f"{before.name} is a {before.kind}, and {after.name} is a {after.kind}.",
            "Name two profiles or two reports; `diag ls` shows of which kind each capture is.",
        )
    WAYS[before.kind](before, after, limit, as_json)


def _side(named: str) -> Side:
    path = Path(named)
    if "/" in named or path.suffix or path.is_file():
        return _from_file(named, path)
    captures = Captures(config.load())
    return _from_capture(captures, captures.find(named))


def _from_capture(captures: Captures, known: Known) -> Side:
    name = f"Capture {known.capture.capture_id}"
    artifact = next((one for kind in WAYS for one in known.capture.artifacts if one.kind == kind), None)
    if artifact is None:
        raise UsageError(f"{name} ({known.capture.kind}) has neither a profile nor a report.", "Name another capture.")
    with captures.open(known, artifact) as source:
        return _read(name, source.read(_SIZE_LIMIT + 1), artifact.kind, artifact.format)


def _since_healthy(named: str, limit: int, as_json: bool) -> None:
    """A death against the newest healthy report before it."""
    captures = Captures(config.load())
    death = captures.find(named)
    who = death.capture.instance
    if death.capture.kind not in ("crash", "event"):
        raise UsageError(
            f"Capture {death.capture.capture_id} is a {death.capture.kind}, and nothing died.",
            "Name a crash, or two captures.",
        )
    known = _healthy_before(captures, death.capture)
    if known is None:
        raise UsageError(
            f"There is no healthy report of {who.name} from before it died, nor of its service.",
            f"Take one while it is well: `diag report {who.name}`.",
        )
    before, after = _from_capture(captures, known), _from_capture(captures, death)
    if (before.kind, after.kind) != ("report", "report"):
        raise UsageError(f"Capture {death.capture.capture_id} has no report.", "`diag show` prints what it has.")
    found = changed(before.value, after.value)
    if as_json:
        print_json({"healthy": known.capture.to_json(), "changes": [one.to_json() for one in found]})
        return
    gap = (parse_stamp(death.capture.time) - parse_stamp(known.capture.time)).total_seconds()
    of = "the instance" if known.capture.instance.instance_id == who.instance_id else f"the service {who.service}"
    click.echo(f"Since the last healthy report of {of}, {known.capture.capture_id}, {duration(gap)} before:")
    if not found:
        click.echo("Nothing changed by a tenth or more.")
        return
    columns = (
        Column("CHANGE", right=True),
        Column("WHAT", narrow=32),
        Column("BEFORE", narrow=24),
        Column("AFTER", main=True),
    )
    cells = [(one.change, one.what[:_LONGEST], _value(one.before), _value(one.after)) for one in found[:limit]]
    print_table(columns, cells, [("bold", "", "dim", "")] * len(cells))
    if len(found) > limit:
        click.echo(f"… and {len(found) - limit} more: -n {len(found)}")


def _healthy_before(captures: Captures, death: Capture) -> Known | None:
    """The newest healthy report of the same instance before this death, or else of the same service."""
    earlier = (one for one in captures.newest() if one.capture.capture_id < death.capture_id)
    of_service = None
    for one in islice(earlier, LOOKED_AT):
        who = one.capture.instance
        if not is_healthy(one.capture) or one.capture.instance.service != death.instance.service:
            continue
        if who.instance_id == death.instance.instance_id:
            return one
        of_service = of_service or one
    return of_service


def _from_file(name: str, path: Path) -> Side:
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise DiagError(f"{name} cannot be read: {error.strerror}.", "`diag ls` lists the captures.") from error
    is_report = content.lstrip()[:1] == b"{" and b'"reportVersion"' in content
    return _read(name, content, "report" if is_report else "profile", None)


def _read(name: str, content: bytes, kind: str, form: str | None) -> Side:
    if len(content) > _SIZE_LIMIT:
        raise DiagError(f"{name} is larger than {_SIZE_LIMIT} bytes.", "Name a smaller one.")
    if kind == "profile":
        try:
            return Side(name, kind, formats.read(content, form))
        except BadProfile as error:
            raise BadProfile(f"{name}: {error}", error.help_text) from error
    try:
        report = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DiagError(f"{name} is not JSON: {error}.", "`diag show` prints a report.") from error
    reason = mistake(report)
    if reason is not None:
        raise DiagError(f"{name} is not a report of diag's: {reason}.", "`diag show` prints a report.")
    return Side(name, kind, report)


def _profiles(before: Side, after: Side, limit: int, as_json: bool) -> None:
    base, new = before.value, after.value
    changes = profile_diff.functions(base, new)
    own = _own(base) | _own(new)
    column = new.column()
    if as_json:
        rows = [{**asdict(one), "key": one.key._asdict(), "own": one.own, "total": one.total} for one in changes]
        print_json({"sample_type": new.sample_types[column]._asdict(), "functions": rows})
        return
    if not changes:
        click.echo("Nothing changed: every function has the same share in both.")
    for title, name in (("by itself", "own"), ("with what it calls", "total")):
        largest = sorted((one for one in changes if getattr(one, name)), key=lambda one: -abs(getattr(one, name)))
        if largest:
            cells = [_cells(one, name) for one in largest[:limit]]
            click.echo(f"\n{title.upper()}, shares of {new.sample_types[column].name}")
            styles = [("bold", "dim", "", "bold" if own[one.key] else "", "dim") for one in largest[:limit]]
            print_table(_COLUMNS, cells, styles)


_COLUMNS = (
    Column("CHANGE", right=True),
    Column("BEFORE", right=True),
    Column("AFTER", right=True),
    Column("FUNCTION", main=True),
    Column("FILE", narrow=16, drop=1),
)


def _own(profile: Profile) -> dict[Any, bool]:
    return {function_of(frame): places.in_app(frame) for frame in profile.frames}


def _cells(change: Any, name: str) -> Sequence[str]:
    before, after = getattr(change, f"{name}_before"), getattr(change, f"{name}_after")
    points = f"{(after - before) * 100:+.1f}"
    file = "/".join(change.key.file.rsplit("/", 2)[-2:])
    return points, percent(before), percent(after), change.key.name, file


def _reports(before: Side, after: Side, limit: int, as_json: bool) -> None:
    found = report_diff.differences(before.value, after.value)
    if as_json:
        print_json({"differences": [one.to_json() for one in found]})
        return
    if not found:
        click.echo("Nothing differs.")
    for section, group in groupby(found, key=lambda one: one.section):
        rows = list(group)
        click.echo(f"\n{section.upper()}")
        columns = (Column("WHAT"), Column("BEFORE", main=True), Column("AFTER", narrow=40))
        cells = [(one.name[:_LONGEST], _value(one.before), _value(one.after)) for one in rows[:limit]]
        print_table(columns, cells, [("dim", "", "")] * len(cells))
        if len(rows) > limit:
            click.echo(f"… and {len(rows) - limit} more: -n {len(rows)}")


def _value(value: str | None) -> str:
    if value is None:
        return "not there"
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"


# What can be compared with its like, by the kind of the artifact: the first one that a capture has counts.
WAYS: dict[str, Callable[[Side, Side, int, bool], None]] = {"profile": _profiles, "report": _reports}
