"""`diag flush`: get everything into the store now, and account for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import reduce
from operator import add
from pathlib import Path

import click

from diag import config
from diag.cli.output import age, print_json
from diag.cli.seconds import Seconds
from diag.config import Settings
from diag.errors import DiagError, NotUploaded
from diag.model import now, parse_stamp
from diag.spool import Account, spools
from diag.upload import accounts, status
from diag.upload.clock import clock_sentence
from diag.upload.pace import Pace
from diag.upload.stores import open_store
from diag.upload.uploader import Drained, drain_out

DEADLINE_HELP = "With --agent: how long the store may take, in seconds; 3 by default."


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The account as an object, for programs.")
@click.option(
    "--agent", metavar="[WHERE]", is_flag=False, flag_value="", help="Have an agent do it: its socket, or an instance."
)
@click.option("--pre-stop", is_flag=True, help="With --agent: `diag agent` ends afterwards.")
@click.option("--deadline", "deadline_s", type=Seconds(0, 600), default=3.0, metavar="S", help=DEADLINE_HELP)
def flush(as_json: bool, agent: str | None, pre_stop: bool, deadline_s: float) -> None:
    """Send what waits in the spool to the store now, and say where every capture is.

    First whatever a killed agent left behind is found and finished; what another diag is sending just now is waited
    for. Ends with 5 while something still waits; nothing is lost by that.

    \b
    Examples:
      diag flush
      diag flush --json | jq .pending
      diag flush --agent --deadline 2      before an instance is frozen: what agents have in memory, too
      DIAG_STORE=https://viewer.example DIAG_TOKEN=… diag flush
    """
    settings = config.load()
    if agent is not None or pre_stop:
        _ask(settings, agent or "", pre_stop=pre_stop, deadline_s=deadline_s, as_json=as_json)
        return
    store = open_store(settings.store_url, settings.token, Pace.of(settings))
    recovered, trouble = _recover(settings)
    known = spools(settings)
    noted = status.place(known)
    before = status.read(noted)
    drained = drain_out(known, store, settings.tenant, deadline=None)
    for spool in known:
        accounts.tell(spool, store, settings.tenant, drained.trouble, last=True)
    if drained.trouble is None:
        status.note(noted, None, pause_s=0.0, clock_ahead_s=store.clock_ahead_s)
    each = {spool.root: spool.account() for spool in known}
    account = reduce(add, each.values())
    if as_json:
        uploader = before.to_json() if before else None
        print_json({**account.to_json(), "recovered": recovered, "now": drained.to_json(), "uploader": uploader})
    else:
        _show(account, drained, recovered, store.url)
        _tell(before, store.clock_ahead_s)
    _finish(each, drained, trouble)


def _ask(settings: Settings, where: str, *, pre_stop: bool, deadline_s: float, as_json: bool) -> None:
    """Have the agent make everything durable, and deliver what the time allows."""
    from diag.agent import calling, hooks

    path = calling.hooks_of(settings, where)
    said = calling.call(path, hooks.PRE_STOP if pre_stop else hooks.PRE_FREEZE, deadline_s)
    if as_json:
        print_json(said)
    else:
        _show(Account(**{name: said[name] for name in Account.__slots__}), Drained(), 0, "")
    if not said["durable"]:
        raise DiagError(" ".join(said["unfinished"]), "Ask again, with a longer --deadline.")
    if not said["delivered"]:
        raise NotUploaded(" ".join(said["unfinished"]) or "Something waits in the spool.")


def _recover(settings: Settings) -> tuple[int, DiagError | None]:
    """Finish what killed agents left; what cannot be finished now does not keep the rest from the store."""
    from diag import spool
    from diag.agent.recover import recover

    count: int = 0
    trouble: DiagError | None = None
    steps: tuple[Callable[[], int], ...] = (lambda: recover(settings), lambda: len(spool.recover(settings)))
    for step in steps:
        try:
            count += step()
        except DiagError as error:
            trouble = error
    return count, trouble


def _show(account: Account, drained: Drained, recovered: int, url: str) -> None:
    rows = [("stored", account.stored, f"{drained.stored} now, in {url}" if drained.stored else "")]
    waited = account.oldest_pending_s
    rows.append(
        (
            "pending",
            account.pending,
            "" if waited is None else f"the oldest for {age(now() - timedelta(seconds=waited))}",
        )
    )
    rows.append(("quarantined", account.quarantined, f"{drained.quarantined} now" if drained.quarantined else ""))
    dropped = account.dropped
    rows.append(("dropped", sum(dropped.values()), ", ".join(f"{count} {reason}" for reason, count in dropped.items())))
    rows.append(("received", account.received, f"{recovered} found after a killed agent" if recovered else ""))
    width = max(len(str(count)) for _, count, _ in rows)
    for name, count, note in rows:
        click.echo(f"{name:<12} {count:>{width}}   {note}".rstrip())


def _tell(before: status.Status | None, clock_ahead_s: float) -> None:
    """What the uploader in the background noted before we came, and what is wrong with the clock."""
    if before and before.trouble:
        since, following = parse_stamp(before.since), parse_stamp(before.next_try)
        click.echo(
            f"diag: the uploader has had trouble for {age(since)}, and tries again at {following:%H:%M:%S} UTC: "
            f"{before.trouble}",
            err=True,
        )
    if clock_ahead_s:
        click.echo(f"diag: {clock_sentence(clock_ahead_s)}; requests were signed by the store's.", err=True)


def _finish(each: dict[Path, Account], drained: Drained, trouble: DiagError | None) -> None:
    if drained.quarantined:
        folders = " or ".join(str(root / "quarantine") for root, account in each.items() if account.quarantined)
        click.echo(f"diag: {folders} holds what the store will not take; .reason says why.", err=True)
    pending = sum(account.pending for account in each.values())
    if pending:
        captures = "1 capture waits" if pending == 1 else f"{pending} captures wait"
        folders = " and ".join(str(root) for root, account in each.items() if account.pending)
        why = drained.trouble or trouble
        if why is None:
            raise NotUploaded(
                f"{captures} in {folders}: another diag is writing or sending.", "Run `diag flush` again."
            )
        raise NotUploaded(f"{captures} in {folders}. {why}", why.help_text or None)
    if trouble is not None:
        raise trouble
