"""How a process was while it was well: the healthy report to compare a death with."""

from __future__ import annotations

from diag.model import Capture
from diag.report import healthy
from diag_server.index import read
from diag_server.index.rows import CaptureRow, Filter
from diag_server.state import viewer

DEATHS = ("crash", "event")
LOOKED_AT = 20


def healthy_before(death: Capture) -> CaptureRow | None:
    """The newest healthy report of the same instance before this death, or else of the same service."""
    if death.kind not in DEATHS:
        return None
    for who in ({"instance": death.instance.instance_id}, {"service": death.instance.service}):
        if all(who.values()):
            wanted = Filter(kind=healthy.KIND, until=death.time, **who)
            rows = read.find(viewer().engine, wanted, LOOKED_AT).captures
            found = next((row for row in rows if row.cause == healthy.CAUSE), None)
            if found is not None:
                return found
    return None
