"""`diag prune`: remove from the store what nobody has to keep."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from diag import config
from diag.cli.output import age, parse_span_s, print_json, size
from diag.config import MIB, RETENTION_HELP, RetentionRule, Settings
from diag.errors import StoreError, UsageError
from diag.model import moment_of, now
from diag.report.visible import visible
from diag.upload import keys, notes
from diag.upload.prune import Seen, Survey, carry_out, finish_begun, survey
from diag.upload.store import Store
from diag.upload.stores import open_store

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?")
_IN_MIB = {"": 1 / MIB, "k": 1 / 1024, "m": 1, "g": 1024, "t": MIB}
_EVERY = 200  # captures between two signs of progress


@dataclass(slots=True)
class Told:
    """What the run has told so far. Rows are kept for JSON alone: a million would fill the memory."""

    dry_run: bool
    as_json: bool
    quiet: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"removed": [], "pinned": [], "held": []})
    freed_bytes: int = 0

    def hear(self, seen: Seen) -> None:
        """Count it, and keep or print it; `quiet` where somebody has read the lines before."""
        self.counts[seen.fate] += 1
        self.freed_bytes += seen.size_bytes if seen.fate == "removed" else 0
        if self.as_json:
            row = {"capture_id": seen.capture.capture_id, "size_bytes": seen.size_bytes, "rule": seen.rule}
            self.rows[seen.fate].append({**row, "note": seen.note} if seen.fate == "held" else row)
        elif not self.quiet:
            click.echo(_line(seen, self.dry_run))


@click.command()
@click.option("--older-than", metavar="AGE", help="Remove what is older: 12h, 30d, 8w.")
@click.option("--kind", metavar="K", default="", help="Only this kind: crash, event, report, profile, …")
@click.option("--service", metavar="S", default="", help="Only this service.")
@click.option("--fingerprint", metavar="F", default="", help="Only this fingerprint.")
@click.option(
    "--keep-per-fingerprint",
    metavar="N",
    type=click.IntRange(1),
    help="Keep so many of each fingerprint: the first, the last, and the newest between.",
)
@click.option("--max-size", metavar="SIZE", help="Remove the least valuable until the rest fits: 500M, 20G.")
@click.option("--dry-run", is_flag=True, help="Print what would go, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="What went, as an object, for programs.")
def prune(
    older_than: str | None,
    kind: str,
    service: str,
    fingerprint: str,
    keep_per_fingerprint: int | None,
    max_size: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove captures from the store by the rules in the settings file, or by the rule that the options make.

    Without a rule nothing is ever removed. What is pinned, or held by the store, stays. The spool is not touched.

    \b
    Examples:
      diag prune --dry-run                                  what the rules of the settings would remove
      diag prune --yes                                      the same for real, from cron
      diag prune --kind profile --older-than 14d
      diag prune --kind crash --keep-per-fingerprint 20
      diag prune --max-size 20G --dry-run --json | jq .freed_bytes
    """
    settings = config.load()
    rules = _rules(settings, older_than, kind, service, fingerprint, keep_per_fingerprint, max_size)
    asking = not (dry_run or yes)
    if asking and not sys.stdin.isatty():
        raise UsageError("There is nobody to ask.", "Say --dry-run to see what would go, or --yes to remove it.")
    store, at = open_store(settings.store_url, settings.token), now()
    begun = _begun(store, settings.tenant, dry_run=dry_run)
    found = survey(store, settings.tenant, rules, at, _progress)
    _progress(0)
    told = Told(dry_run or asking, as_json)
    over_bytes, trouble = _carry_out(store, settings, rules, at, found, told)
    if asking and trouble is None and told.counts["removed"]:
        if not as_json:
            _show(told, found, over_bytes)
        click.confirm("Remove them?", abort=True, err=True)
        told = Told(False, as_json, quiet=True)
        over_bytes, trouble = _carry_out(store, settings, rules, at, found, told)
    if as_json:
        print_json(_as_json(told, found, begun, over_bytes, trouble))
    else:
        _show(told, found, over_bytes)
    if trouble is not None:
        raise trouble


def _rules(
    settings: Settings,
    older_than: str | None,
    kind: str,
    service: str,
    fingerprint: str,
    number: int | None,
    max_size: str | None,
) -> tuple[RetentionRule, ...]:
    """The one rule that the options make, or those of the settings. Raises UsageError where there is none."""
    days = None if older_than is None else parse_span_s("--older-than", older_than) / 86400
    size_mb = None if max_size is None else _size_mb(max_size)
    if (days, number, size_mb) != (None, None, None):
        return (RetentionRule(service, kind, fingerprint, days, number, size_mb),)
    if kind or service or fingerprint:
        raise UsageError(
            "The options say which captures, and not how long to keep them.",
            "Add --older-than 30d, --keep-per-fingerprint 20 or --max-size 20G.",
        )
    if not settings.retention:
        raise UsageError(
            "No rule says what may go, so everything stays.",
            f"Say one, such as `diag prune --older-than 90d`, or write rules into the settings file. {RETENTION_HELP}",
        )
    return settings.retention


def _size_mb(text: str) -> float:
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"--max-size {text!r} is no size.", "For example: --max-size 500M, --max-size 20G")
    return float(found[1]) * _IN_MIB[found[2]]


def _begun(store: Store, tenant: str, *, dry_run: bool) -> dict[str, str]:
    """Finish what killed runs began. A dry run says only that there is something."""
    if not dry_run:
        stuck = finish_begun(store, tenant)
        for capture_id, why in stuck.items():
            click.echo(f"diag: {capture_id} is gone, and its files cannot be removed yet: {visible(why)}", err=True)
        return stuck
    begun = dict.fromkeys(notes.listed(store, tenant, keys.DELETED), "a run that was broken off")
    if begun:
        click.echo(f"diag: removals that were broken off, and would be finished: {len(begun)}", err=True)
    return begun


def _carry_out(
    store: Store, settings: Settings, rules: tuple[RetentionRule, ...], at: datetime, found: Survey, told: Told
) -> tuple[int, StoreError | None]:
    try:
        return carry_out(store, settings.tenant, rules, at, found, told.hear, dry_run=told.dry_run), None
    except StoreError as error:
        return 0, error  # what went until then is still told


def _line(seen: Seen, dry_run: bool) -> str:
    capture = seen.capture
    word = {"removed": "would remove" if dry_run else "removed", "pinned": "pinned", "held": "held"}[seen.fate]
    note = f"; {seen.note}" if seen.fate == "held" else ""
    made, freed = age(moment_of(capture.capture_id)), size(seen.size_bytes)
    what = visible(f"{capture.kind} of {capture.instance.service}: {capture.title or capture.trigger}")[:100]
    return visible(f"{word:<12}  {capture.capture_id}  {made:>4}  {freed:>9}  {what} ({seen.rule}{note})")


def _show(told: Told, found: Survey, over_bytes: int) -> None:
    for capture_id, why in found.unreadable.items():
        click.echo(f"diag: {capture_id} is left alone: {visible(why)}", err=True)
    count = told.counts["removed"]
    what = "1 capture" if count == 1 else f"{count} captures"
    done = "would go" if told.dry_run else "removed"
    click.echo(
        f"{what} {done}, {size(told.freed_bytes)}; {_staying(told)}" if count else f"Nothing goes; {_staying(told)}"
    )
    if over_bytes:
        click.echo(f"diag: what has to stay is still {size(over_bytes)} more than the rules allow.", err=True)


def _staying(told: Told) -> str:
    return f"{told.counts['pinned']} pinned and {told.counts['held']} held stay"


def _as_json(
    told: Told, found: Survey, begun: dict[str, str], over_bytes: int, trouble: StoreError | None
) -> dict[str, Any]:
    return {
        "dry_run": told.dry_run,
        **told.rows,
        "freed_bytes": told.freed_bytes,
        "over_bytes": over_bytes,
        "unreadable": found.unreadable,
        "begun": begun,
        "trouble": str(trouble) if trouble else None,
    }


def _progress(count: int) -> None:
    """How many captures were read, on a terminal; 0 clears the line."""
    if sys.stderr.isatty() and count % _EVERY == 0:
        click.echo(f"\r{count} captures read" if count else "\r\x1b[K", nl=False, err=True)
