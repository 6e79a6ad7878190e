"""The agents that deliver to the store: the last account of each, kept in memory and read again where it changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from diag.errors import NoSuchObject, StoreError
from diag.model import moment_of, new_capture_id, now
from diag.upload import keys
from diag.upload.store import Store
from diag_server.accounts import AHEAD, SIZE_LIMIT, Account, Agent, agent_at, read_account
from diag_server.errors import BadAccount, TooLarge
from diag_server.follow import read_object

log = logging.getLogger(__name__)

AGENTS_LIMIT, LISTED_LIMIT = 5_000, 50_000
READING_S = 1.0  # a page waits so long for accounts that were never read; the others come at the next look
LISTING_SHARE = 20  # a listing that takes long is repeated less often: a twentieth of the time goes into it


class Agents:
    """What every agent told last. One thread at a time looks into the store; nobody waits for it."""

    def __init__(
        self, store: Store, tenant: str, look_every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._tenant, self._look_every_s, self._clock = store, tenant, look_every_s, clock
        self._looking, self._changing = threading.Lock(), threading.Lock()
        self._known: dict[str, Account] = {}
        self._taken: set[str] = set()  # agents that were heard of while the store is looked at
        self._bad: dict[str, str] = {}
        self._due = -1e9
        self.unread = 0  # agents whose account is still to be read
        self.trouble = ""

    def look(self) -> None:
        """Read what is new if the last look is too old; a look that another thread has under way is not waited for."""
        if self._clock() < self._due or not self._looking.acquire(blocking=False):
            return
        began = self._clock()
        try:
            newest = self._newest()
            self._due = self._clock() + max(self._look_every_s, (self._clock() - began) * LISTING_SHARE)
            self._take_over(newest)
            self.trouble = ""
        except StoreError as error:
            if str(error) != self.trouble:  # once, not every second
                log.warning("What agents tell cannot be read: %s", error)
            self.trouble = str(error)
            self._due = self._clock() + self._look_every_s
        finally:
            self._looking.release()

    def take(self, account: Account) -> None:
        """An account that has just come in; an older one than the known one says nothing."""
        with self._changing:
            known = self._known.get(account.agent_id)
            newer = len(self._known) < AGENTS_LIMIT if known is None else known.account_id <= account.account_id
            if newer:
                self._known[account.agent_id] = account
                self._taken.add(account.agent_id)

    def at(self, moment: datetime) -> list[Agent]:
        """All agents as they stand at that moment, those with trouble first, then the one heard of last first."""
        with self._changing:
            known = list(self._known.values())
        found = [agent_at(account, moment) for account in known]
        by_time = sorted(found, key=lambda one: (one.account.time, one.account.agent_id), reverse=True)
        return sorted(by_time, key=lambda one: (one.old, not one.troubles))

    def _newest(self) -> dict[str, str]:
        """The last account's id of each agent, by one listing."""
        with self._changing:
            self._taken.clear()
        newest: dict[str, str] = {}
        horizon = new_capture_id(now() + AHEAD)
        for number, found in enumerate(self._store.objects(keys.accounts_prefix(self._tenant))):
            if number == LISTED_LIMIT:
                log.warning("More than %d accounts of agents are in the store; the rest is not seen.", LISTED_LIMIT)
                break
            parts = keys.parse_account(found.key)
            if parts and parts[2] < horizon and (parts[1] in newest or len(newest) < AGENTS_LIMIT):
                newest[parts[1]] = parts[2]
        return newest

    def _take_over(self, newest: dict[str, str]) -> None:
        with self._changing:
            for gone in self._known.keys() - newest.keys() - self._taken:
                del self._known[gone]
            self._bad = {agent: account for agent, account in self._bad.items() if newest.get(agent) == account}
            changed = [
                (agent, account)
                for agent, account in newest.items()
                if (agent not in self._known or self._known[agent].account_id != account)
                and self._bad.get(agent) != account
            ]
        # What was heard of longest ago waits longest.
        changed.sort(key=lambda one: moment_of(one[1]), reverse=True)
        ends = self._clock() + READING_S
        for number, (agent, account_id) in enumerate(changed):
            if self._clock() > ends:
                self.unread = len(changed) - number
                return
            self._read(agent, account_id)
        self.unread = 0

    def _read(self, agent_id: str, account_id: str) -> None:
        key = keys.account_key(self._tenant, agent_id, account_id)
        try:
            account = read_account(read_object(self._store, key, SIZE_LIMIT), agent_id, account_id)
        except NoSuchObject:
            return  # a newer one is there by now
        except (BadAccount, TooLarge) as error:
            log.warning("%s is left out: %s", key, error)
            self._bad[agent_id] = account_id
            return
        with self._changing:
            if agent_id not in self._taken:
                self._known[agent_id] = account
