"""Reading JSON that came from outside: bounded, and every value has the type that is asked for, or a harmless one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from diag.report import loose
from diag_server.errors import BadReport

LIST_LIMIT = 5_000
DEPTH_LIMIT = 64  # what walks a document later does so by recursion
# What `clean` has to look for; nearly no document has any, so it is looked for in the bytes first.
_SUSPECTS = (b"\\ud", b"\\uD", b"\\u0000")


mapping, text = loose.mapping, loose.text
finite = loose.number  # one that can be computed with


def parse_json(data: bytes) -> Any:
    """The document. Lone surrogates and NULs, which neither a database nor a page can take, become U+FFFD.

    Raises BadReport.
    """
    try:
        document = json.loads(data.decode("utf-8", "replace"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadReport(f"This is not JSON: {error}.") from error
    if _depth(document) > DEPTH_LIMIT:
        raise BadReport(f"This JSON is nested more than {DEPTH_LIMIT} levels deep.")
    return clean(document) if any(suspect in data for suspect in _SUSPECTS) else document


def clean(value: Any) -> Any:
    """The same document without lone surrogates and NULs."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def items(value: Any) -> list[Any]:
    """The list up to a limit, or an empty one."""
    return value[:LIST_LIMIT] if isinstance(value, list) else []


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a list; what is none is left out."""
    return (item for item in items(value) if isinstance(item, dict))


def number(value: Any) -> int | float | None:
    """The number, or None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: Any) -> int | None:
    """The whole number, also where it is written as decimal or 0x text; or None."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            return int(value, 0)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def lines(value: Any) -> list[str]:
    """A list of texts; a text is split into its lines."""
    return text(value).splitlines() if isinstance(value, str) else [text(item) for item in items(value)]


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level and depth <= DEPTH_LIMIT:
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [child for children in inside for child in children if isinstance(child, dict | list)]
        depth += 1
    return depth


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
