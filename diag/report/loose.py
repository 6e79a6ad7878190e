"""Reading a report that anybody may have written: a value of another type than the schema says counts as not there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from diag.model import parse_stamp

TEXT_LIMIT = 20_000
LIST_LIMIT = 2_000


def mapping(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any, limit: int = LIST_LIMIT) -> Iterator[Mapping[str, Any]]:
    """The objects among the first few of a list."""
    return (item for item in (value[:limit] if isinstance(value, list) else ()) if isinstance(item, dict))


def text(value: Any, limit: int = TEXT_LIMIT) -> str:
    """The value as text, cut where it is too long; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(shown) - limit} more characters)"


def number(value: Any) -> float | None:
    """The number as one that can be computed with."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def moment(value: Any) -> datetime | None:
    """The time, UTC."""
    try:
        return parse_stamp(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
