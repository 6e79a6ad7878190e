"""The file that a store is to take, opened and of the size that was announced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from diag.errors import StoreRejected


@contextmanager
def reading(source: Path, size_bytes: int) -> Iterator[BinaryIO]:
    """The file, for reading. Raises StoreRejected: what is not there, or not whole, no store can take."""
    try:
        size = source.stat().st_size
        file = source.open("rb")
    except OSError as error:
        raise StoreRejected(f"{source} cannot be read: {error.strerror}.", "") from error
    with file:
        if size != size_bytes:
            raise StoreRejected(f"{source} has {size} bytes, {size_bytes} were announced.", "")
        yield file
