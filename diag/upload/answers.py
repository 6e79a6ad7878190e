"""What every store's answers have in common: text and headers from outside, read without trust."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from diag.model import now

PROXY_HELP = "Check HTTP_PROXY and HTTPS_PROXY; NO_PROXY names hosts that are spoken to directly."

_LONGEST = 500


def plain(text: object) -> str:
    """Text from outside as one line without control characters; empty for None."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())[:_LONGEST]


def retry_after_s(text: str) -> float | None:
    """The seconds that a Retry-After header asks for, given as a number or as a date (RFC 9110, section 10.2.3)."""
    text = text.strip()
    if text.isdecimal():
        return float(text[:9])
    moment = http_date(text)
    return max(0.0, (moment - now()).total_seconds()) if moment else None


def http_date(text: str) -> datetime | None:
    """The aware time of an HTTP date; None where it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
