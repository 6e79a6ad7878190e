"""Before an instance is frozen or stopped: nothing waits in memory, and what the time allows is in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from diag.agent.delivery import Delivery
from diag.agent.recorder import Recorder
from diag.config import Settings
from diag.errors import DiagError
from diag.spool import Account, spools

DEADLINE_S = 3.0
_HALF = 0.5  # of the time, for what has to be durable; the rest is for the store


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush did. `durable`: everything that was received is in the spool. `unfinished` are sentences."""

    instances: int
    durable: bool
    account: Account
    unfinished: tuple[str, ...] = ()
    took_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As the hooks answer it, and `diag flush --agent --json`."""
        return {
            **self.account.to_json(),
            "instances": self.instances,
            "durable": self.durable,
            "delivered": self.durable and not self.account.pending,
            "unfinished": list(self.unfinished),
            "took_s": round(self.took_s, 3),
        }


class Flusher:
    """`hear` takes in what probes have said, in a given time, and tells of how many instances; None: not in time."""

    def __init__(
        self, settings: Settings, recorder: Recorder, delivery: Delivery, hear: Callable[[float], int | None]
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._delivery = delivery
        self._hear = hear

    def flush(self, deadline_s: float = DEADLINE_S) -> Flushed:
        """Hear, record, deliver; in about so many seconds, whatever the store does."""
        began = time.monotonic()
        until = began + deadline_s
        unfinished = []
        heard = self._hear(deadline_s * _HALF)
        while heard is None and time.monotonic() < began + deadline_s * _HALF:
            heard = self._hear(began + deadline_s * _HALF - time.monotonic())
        if heard is None:
            unfinished.append("The agent is busy with a process that dies, and has not listened to all others.")
        recorded = self._recorder.settle(until - time.monotonic())
        if not recorded:
            unfinished.append("Records are still being written.")
        trouble = self._delivery.settle(until)
        if trouble is not None:
            unfinished.append(trouble)
        durable = heard is not None and recorded
        return Flushed(heard or 0, durable, self.account(), tuple(unfinished), time.monotonic() - began)

    def look(self) -> Flushed:
        """Where everything is now, without a change."""
        heard = self._hear(DEADLINE_S)
        return Flushed(heard or 0, heard is not None, self.account())

    def account(self) -> Account:
        """Of all spools that can be read."""
        found = []
        for spool in spools(self._settings):
            try:
                found.append(spool.account())
            except DiagError:
                continue
        return reduce(add, found, Account())
