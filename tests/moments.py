"""Moments that are told apart: an id sorts by the millisecond in which it was made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from diag.model import now

_last = datetime.min.replace(tzinfo=UTC)


def next_moment() -> datetime:
    """Now, or where that was given out already, a millisecond after the last one."""
    global _last
    _last = max(now(), _last + timedelta(milliseconds=1))
    return _last
