"""What a query string asks for: filters, page sizes, spans of time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta

from diag.model import now, parse_stamp, stamp
from diag_server.errors import BadRequest
from diag_server.index.rows import Filter

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
VALUE_LIMIT = 500


def filter_of(arguments: Mapping[str, str]) -> Filter:
    """The filter that the query string's `kind`, `level`, `request`, … make. Raises BadRequest."""
    given = {field.name: arguments.get(field.name, "").strip()[:VALUE_LIMIT] for field in fields(Filter)}
    for name in ("since", "until"):
        given[name] = moment(name, given[name])
    return Filter(**given)


def moment(name: str, value: str) -> str:
    """A time as the index writes it: from `30m`, `24h`, `7d` ago, or an ISO 8601 time; empty stays empty."""
    if not value:
        return ""
    span = _SPAN.fullmatch(value)
    try:
        if span:
            return stamp(now() - timedelta(**{_UNITS[span[2]]: int(span[1])}))
        # A `+` that was not escaped in a query string arrives as a space.
        return stamp(parse_stamp(value.replace(" ", "+") if value.count(" ") == 1 and "T" in value else value))
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name}={value} is no time.", "Say 30m, 24h or 7d, or a time like 2025-03-01T10:00Z."
        ) from error


def limit_of(arguments: Mapping[str, str], usual: int, most: int = 500) -> int:
    """How many rows are asked for. Raises BadRequest."""
    value = arguments.get("limit", str(usual))
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 1 <= int(value) <= most:
        raise BadRequest(f"limit={value} is not a number from 1 to {most}.")
    return int(value)
