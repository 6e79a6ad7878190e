"""A request and an answer, as the server's parts hand them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from oss_server.signing import Signed


@dataclass
class Reply:
    """An answer. `hang_up` leaves it away and closes the connection, after all was done."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: tuple[Path, int, int] | None = None  # path, start, length
    hang_up: bool = False
    plain: bool = False  # without what every answer of OSS carries


@dataclass(frozen=True)
class Asked(Signed):
    """A request, and its body as it comes."""

    body: Iterator[bytes]
