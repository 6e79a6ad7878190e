"""The durable queue of captures on this disk: nothing accepted is lost, every loss is counted.

    new/<id>/         being written; its writer holds a flock on the folder, so an orphan is recognised
    pending/<id>/     whole, waiting for the store
    completed/<id>/   stored; only the manifest is kept, for a while
    quarantine/<id>/  damaged or refused for good, with the reason in `.reason`

A capture moves between them by one rename. The ledger keeps what the folders cannot tell: how many were received, and
what became of those that are gone. Several processes share one spool.
"""

from __future__ import annotations

from diag.spool.draft import Draft
from diag.spool.queue import Account, Spool

__all__ = ["Account", "Draft", "Spool"]
