"""Reading what somebody else wrote: bounded before memory is taken, and told in words where it is malformed."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from diag.errors import BadProfile

MAX_BYTES = 512 * 1024 * 1024
MAX_JSON_BYTES = 256 * 1024 * 1024  # a parsed document takes about ten times its text
# Profiles shrink to a tenth; a thousandth is the most that deflate can do.
MAX_RATIO = 300
_SURE_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 4 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_STUMBLES = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, csv.Error)


def unpacked(content: bytes, most: int = MAX_BYTES) -> bytes:
    """The content, decompressed where it is gzip, `most` bytes of it. Raises BadProfile."""
    if not content.startswith(GZIP_MAGIC):
        return bounded(content, most)
    limit = min(most, max(_SURE_BYTES, len(content) * MAX_RATIO))
    parts, size, rest = [], 0, content
    try:
        while rest.startswith(GZIP_MAGIC):
            stream = zlib.decompressobj(wbits=31)
            while not stream.eof:
                part = stream.decompress(rest, _CHUNK_BYTES)
                rest = stream.unconsumed_tail
                size += len(part)
                parts.append(part)
                if size > limit:
                    raise BadProfile(f"This gzip stream unpacks to more than {limit} bytes.")
                if not part and not rest and not stream.eof:
                    raise BadProfile("This gzip stream is cut off.")
            rest = stream.unused_data
    except zlib.error as error:
        raise BadProfile(f"This gzip stream is damaged: {error}.") from error
    return b"".join(parts)


def bounded(content: bytes, limit: int = MAX_BYTES) -> bytes:
    """The content. Raises BadProfile where it is larger than the limit."""
    if len(content) > limit:
        raise BadProfile(f"This profile has {len(content)} bytes; {limit} are the limit.")
    return content


def text(content: bytes) -> str:
    """The content as text; what is no UTF-8 becomes U+FFFD. Raises BadProfile."""
    return unpacked(content).decode("utf-8", "replace")


def document(content: bytes) -> Any:
    """The JSON document. Lone surrogates, which no other format can take, become U+FFFD. Raises BadProfile."""
    plain = bounded(unpacked(content), MAX_JSON_BYTES)
    try:
        parsed = json.loads(plain.decode("utf-8", "replace"), parse_constant=_no_constant)
        return _without_surrogates(parsed) if b"\\ud" in plain or b"\\uD" in plain else parsed
    except (ValueError, RecursionError) as error:
        raise BadProfile(f"This is not JSON: {error}.") from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Tells whatever a reader stumbles over as BadProfile, which names the format and the trouble."""
    try:
        yield
    except KeyError as error:
        raise BadProfile(f"This is no valid {what}: {error} is missing.") from error
    except _STUMBLES as error:
        raise BadProfile(f"This is no valid {what}: {error}.") from error


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
