"""What an agent tells the store about its spool: where every capture is, as one small object a time.

An agent is a spool: it keeps the agent's id. Objects are never replaced, so each account has a key of its own, the last
one counts, and the agent removes its earlier ones where the store lets it. An account is only news about captures: no
failure here is one of theirs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from diag import __version__
from diag.errors import DiagError
from diag.model import moment_of, new_capture_id, now, stamp, valid_id
from diag.redact import Redactor
from diag.spool import Account, Spool
from diag.spool.files import locked, read_plain, sync_folder, write_file, writing
from diag.upload import keys, small
from diag.upload.store import Store

SCHEMA = "diag.account/1"
LATE_S = 600.0  # nothing that the store takes waits for so long
OFTEN_S = 60.0  # while captures come and go, not more often than this
WAITING_S = 300.0  # while something waits, again after this; and after a failure
# A store that lets us remove nothing gets them less and less often, and after so many of a day every hour.
LEFT_A_DAY = 24
HOUR_S = 3600.0
DAY = timedelta(days=1)
AHEAD = timedelta(hours=1)  # a clock that is set back by less is waited for
AGENT, TOLD, LOCK = "agent", "told.json", "told.lock"
_SENTENCE = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What was told last, and where. It is kept beside the spool; losing it costs one object in the store."""

    store: str = ""
    account_id: str = ""
    counts: Mapping[str, Any] | None = None  # what the store knows; None: nothing, or it did not take it
    tried: float = 0.0  # seconds since the epoch
    left: tuple[str, ...] = ()  # earlier accounts that may still be in the store, oldest first
    dropped: int = 0
    dropped_time: str | None = None  # when the last loss was seen
    refused: str = ""  # why the store did not take the last one


def tell(
    spool: Spool, store: Store, tenant: str, trouble: DiagError | None = None, *, last: bool = False
) -> float | None:
    """Put the spool's account into the store where that is due; returns in how many seconds it is due again, if ever.

    `trouble` is why captures wait. With `last` nobody comes later, so a change is told at once.
    """
    if not spool.is_there():
        return None
    try:
        with writing(spool.root), locked(spool.root / LOCK):
            return _tell(spool, store, tenant, trouble, last)
    except DiagError:
        return WAITING_S  # not even a note can be kept; what that means for captures, the spool itself says


def last_told(spool: Spool) -> Told:
    """What this spool has told last."""
    try:
        found = Told(**json.loads(read_plain(spool.root / TOLD)))
        return replace(
            found,
            account_id=found.account_id if valid_id(found.account_id) else "",
            tried=float(found.tried),
            left=tuple(one for one in found.left if valid_id(one)),
            dropped=int(found.dropped),
        )
    except (OSError, ValueError, TypeError):
        return Told()


def _tell(spool: Spool, store: Store, tenant: str, trouble: DiagError | None, last: bool) -> float | None:
    account, told, where = spool.account(), last_told(spool), f"{store.url} {tenant}"
    if told.store != where:
        told = replace(told, store=where, account_id="", counts=None, tried=0.0, left=(), refused="")
    due_s = _due_s(account, told, last)
    if due_s is None or due_s > 0:
        return due_s
    agent_id, new = _agent_id(spool.root), _new_id(told.account_id)
    lost = account.lost
    told = replace(
        told,
        account_id=new,
        tried=time.time(),
        left=tuple(one for one in (*told.left, told.account_id) if one and now() - moment_of(one) < DAY),
        dropped=lost,
        dropped_time=stamp(now()) if lost > told.dropped else told.dropped_time,
    )
    _note(spool.root, replace(told, counts=None))  # whoever is killed now leaves nothing that nobody knows of
    try:
        small.put(
            store, keys.account_key(tenant, agent_id, new), _document(agent_id, account, told, trouble, spool.root)
        )
        told = replace(told, counts=_counts(account), left=_sweep(store, tenant, agent_id, told.left), refused="")
    except DiagError as error:
        told = replace(told, counts=None, refused=str(error)[:_SENTENCE])
    _note(spool.root, told)
    return WAITING_S if account.pending or told.refused else None


def _due_s(account: Account, told: Told, last: bool) -> float | None:
    changed = _counts(account) != told.counts
    if not account.received or not (changed or account.pending):
        return None
    left = sum(now() - moment_of(one) < DAY for one in told.left)
    if last and changed and left < LEFT_A_DAY:
        return 0.0
    every_s = max(
        WAITING_S if told.refused or not changed else OFTEN_S, min(HOUR_S, OFTEN_S * 2 ** min(left, LEFT_A_DAY))
    )
    passed_s = time.time() - told.tried
    return max(0.0, every_s - passed_s) if passed_s >= 0 else 0.0  # less than nothing: the clock was set back


def _counts(account: Account) -> dict[str, Any]:
    """What makes an account another one; the age of what waits does not."""
    return {name: value for name, value in account.to_json().items() if name != "oldest_pending_s"}


def _document(agent_id: str, account: Account, told: Told, trouble: DiagError | None, root: Path) -> bytes:
    sentence = Redactor().text(str(trouble).replace(str(root), "the spool"))[:_SENTENCE] if trouble else ""
    document = {
        "schema": SCHEMA,
        "agent": {"id": agent_id, "host": os.uname().nodename, "version": __version__},
        "time": stamp(now()),
        **account.to_json(),
        "dropped_time": told.dropped_time,
        "trouble": sentence,
    }
    return json.dumps(document, indent=1).encode()


def _sweep(store: Store, tenant: str, agent_id: str, left: tuple[str, ...]) -> tuple[str, ...]:
    """Remove earlier accounts; returns those that stay. A store that lets us remove none is asked once a time."""
    for number, one in enumerate(left):
        try:
            store.delete(keys.account_key(tenant, agent_id, one))
        except DiagError:
            return left[number:]
    return ()


def _agent_id(root: Path) -> str:
    """The spool's id, made once, before anything is told under it."""
    path = root / AGENT
    with suppress(OSError):  # missing, or nothing that is ours: it is made anew
        found = read_plain(path).decode("ascii", "replace").strip()
        if valid_id(found):
            return found
    made = new_capture_id()
    write_file(path, f"{made}\n".encode())
    sync_folder(root)
    return made


def _new_id(before: str) -> str:
    """An id behind the one before it, also where the clock was set back a little since."""
    moment = now()
    if before and timedelta() <= moment_of(before) - moment < AHEAD:
        moment = moment_of(before) + timedelta(milliseconds=1)
    return new_capture_id(moment)


def _note(root: Path, told: Told) -> None:
    with suppress(OSError):  # on a full disk it is told again, and one account too many stays in the store
        write_file(root / TOLD, json.dumps(asdict(told)).encode())
