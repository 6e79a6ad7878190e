"""Protocol buffers on the wire, as far as profile.proto needs them.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from diag.errors import BadProfile

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
# Splits packed varints at the speed of C: `[\x00-\x7f]` ends one.
_PIECES = re.compile(rb"[\x80-\xff]*[\x00-\x7f]")
_SMALL = [bytes((value,)) for value in range(128)]


def varint(value: int) -> bytes:
    """The bytes of an int64 or uint64; negative numbers take ten."""
    if 0 <= value < 128:
        return _SMALL[value]
    value &= _MASK
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(field: int, value: int) -> bytes:
    """A whole number as a field; nothing where it is 0, which proto3 does not write."""
    return varint(field << 3) + varint(value) if value else b""


def bytes_field(field: int, body: bytes) -> bytes:
    """A message or a text as a field."""
    return varint(field << 3 | BYTES) + varint(len(body)) + body


def packed_field(field: int, values: Iterable[int]) -> bytes:
    """Repeated numbers as one field; nothing where there are none."""
    body = b"".join(map(varint, values))
    return bytes_field(field, body) if body else b""


def signed(value: int) -> int:
    """The int64 that a varint's 64 bits stand for."""
    return value - (1 << 64) if value >> 63 else value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where the next byte stands). Raises BadProfile."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise BadProfile(f"A number at byte {at} is cut off or too long.")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK, at
        shift += 7


def pieces(packed: bytes) -> list[bytes]:
    """The single varints of a packed field, still encoded. Raises BadProfile."""
    if packed and packed[-1] > 127:
        raise BadProfile("A packed list of numbers is cut off.")
    return _PIECES.findall(packed)


def numbers(packed: bytes) -> list[int]:
    """The numbers of a packed field. Raises BadProfile."""
    return [piece[0] if len(piece) == 1 else read_varint(piece, 0)[0] for piece in pieces(packed)]


def field_at(data: bytes, at: int, end: int) -> tuple[int, int | bytes, int]:
    """(field number, value, where the next field stands): a number, or the bytes of a text or message.

    Raises BadProfile.
    """
    key, at = (data[at], at + 1) if data[at] < 128 else read_varint(data, at)
    kind = key & 7
    if kind == VARINT:
        value, at = read_varint(data, at)
        return key >> 3, value, at
    if kind == BYTES:
        size, at = (data[at], at + 1) if at < end and data[at] < 128 else read_varint(data, at)
    elif kind in (FIXED32, FIXED64):
        size = 4 if kind == FIXED32 else 8
    else:
        raise BadProfile(f"The field at byte {at} has the unknown wire type {kind}.")
    if size > end - at:
        raise BadProfile(f"The field at byte {at} says that it has {size} bytes; {max(end - at, 0)} are left.")
    return key >> 3, data[at : at + size], at + size


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of each field of a message. Raises BadProfile."""
    at, end = 0, len(data)
    while at < end:
        field, value, at = field_at(data, at, end)
        yield field, value
