"""The spools in force: the first one, and a small second one for what the first cannot take."""

from __future__ import annotations

from diag.config import MIB, Settings
from diag.spool.queue import Spool


def spools(settings: Settings) -> tuple[Spool, ...]:
    """All that there are, in the order in which they are tried.

    The second stands in the run folder, beside mapped black boxes: it leaves as much free there as it may take, so that
    a page of theirs always finds its place.
    """
    first, second = Spool.of(settings), settings.spool_second_dir
    quota_bytes = settings.spool_second_quota_mb * MIB
    if quota_bytes == 0 or second == first.root:
        return (first,)
    return (first, Spool(second, quota_bytes, floor_bytes=quota_bytes))


def unfinished(settings: Settings) -> bool:
    """Whether a killed writer may have left anything, at the cost of listing a few folders."""
    return any(spool.unfinished() for spool in spools(settings))


def recover(settings: Settings) -> list[str]:
    """Finish what killed writers left; returns the ids that wait now because of it."""
    known = spools(settings)
    return [found for place, spool in enumerate(known) for found in spool.recover(known[place + 1 :])]
