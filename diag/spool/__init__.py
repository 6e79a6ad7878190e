"""The durable queue of captures on this disk: nothing accepted is lost, every loss is counted.

    new/<id>/                         being written; its writer holds a flock on the folder, so an orphan is recognised
    pending/<rank>/<bucket>/<entry>/  whole, waiting for the store
    completed/<id>/                   stored; only the manifest is kept, for a while
    quarantine/<bucket>/<entry>/      damaged or refused for good, with the reason in `.reason`

A capture moves between them by one rename. The ledger keeps what the folders cannot tell: how many were received, and
what became of those that are gone. Several processes share one spool.
"""

from __future__ import annotations

from diag.spool.account import Account
from diag.spool.draft import Draft
from diag.spool.places import recover, spools, unfinished
from diag.spool.queue import Spool
from diag.spool.shelf import id_of

__all__ = ["Account", "Draft", "Spool", "id_of", "recover", "spools", "unfinished"]
