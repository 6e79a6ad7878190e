"""Reads marshal version 4 without trusting it.

`marshal.loads` may crash the interpreter on torn or hostile bytes, and a black box is both: its writer may have been
killed in the middle of a write, and may be another user's process. Source: CPython, Python/marshal.c, `r_object`.
"""

from __future__ import annotations

import struct
from typing import Any

FLAG_REF = 0x80
MAX_DEPTH = 200


class Torn(ValueError):
    """The bytes are not a whole record of plain data."""


def loads(payload: bytes) -> Any:
    """The plain value (None, bool, int, float, str, bytes, tuple, list, dict) that was packed. Raises Torn."""
    try:
        return _Reader(payload).value(0)
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError, MemoryError, OverflowError) as error:
        raise Torn(str(error)) from None


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self._bytes = payload
        self._at = 0
        self._references: list[Any] = []

    def value(self, depth: int) -> Any:
        """The next value; `depth` bounds hostile nesting."""
        if depth > MAX_DEPTH:
            raise Torn("nested too deep")
        head = self._take(1)[0]
        kind = chr(head & ~FLAG_REF)
        # A container takes its place among the references before its items do.
        place = len(self._references) if head & FLAG_REF else None
        if place is not None:
            self._references.append(None)
        result = self._read(kind, depth)
        if place is not None:
            self._references[place] = result
        return result

    def _read(self, kind: str, depth: int) -> Any:
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _TEXTS:
            length_format, encoding = _TEXTS[kind]
            return self._take(self._number(length_format)).decode(
                encoding, "surrogatepass" if kind in "ut" else "strict"
            )
        if kind in "([)":
            items = [self.value(depth + 1) for _ in range(self._count("<B" if kind == ")" else "<I"))]
            return items if kind == "[" else tuple(items)
        return self._read_other(kind, depth)

    def _read_other(self, kind: str, depth: int) -> Any:
        if kind == "i":
            return self._number("<i")
        if kind == "g":
            return struct.unpack("<d", self._take(8))[0]
        if kind == "l":
            return self._long()
        if kind == "s":
            return self._take(self._number("<I"))
        if kind == "r":
            return self._references[self._number("<I")]
        if kind == "{":
            return self._dict(depth)
        raise Torn(f"unexpected type {kind!r}")

    def _dict(self, depth: int) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        while self._bytes[self._at] & ~FLAG_REF != ord("0"):
            name = self.value(depth + 1)
            if not isinstance(name, (str, int, float, bytes, tuple, type(None))):
                raise Torn("unhashable key")
            result[name] = self.value(depth + 1)
        self._at += 1
        return result

    def _long(self) -> int:
        # 15-bit digits, least significant first; the count carries the sign.
        count = self._number("<i")
        digits = struct.unpack(f"<{abs(count)}H", self._take(2 * abs(count)))
        magnitude: int = sum(digit << (15 * place) for place, digit in enumerate(digits))
        return -magnitude if count < 0 else magnitude

    def _count(self, length_format: str) -> int:
        count = self._number(length_format)
        if count > len(self._bytes) - self._at:
            raise Torn("more items than bytes")
        return count

    def _number(self, number_format: str) -> int:
        return int(struct.unpack(number_format, self._take(struct.calcsize(number_format)))[0])

    def _take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._bytes):
            raise Torn("cut off")
        self._at += size
        return self._bytes[self._at - size : self._at]


_CONSTANTS: dict[str, Any] = {"N": None, "T": True, "F": False}
_TEXTS = {
    "u": ("<I", "utf-8"),
    "t": ("<I", "utf-8"),
    "a": ("<I", "ascii"),
    "A": ("<I", "ascii"),
    "z": ("<B", "ascii"),
    "Z": ("<B", "ascii"),
}
