"""Lists and reads folders that others change meanwhile.

pathlib's own glob fails where a folder is moved away before it looks into it (CPython 3.11, Lib/pathlib.py), and an
uploader moves a capture's folder at any moment.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LOOKS = 1000


def listed(folder: Path, pattern: str) -> list[Path]:
    """What fits the pattern below the folder, all of it listed in one look that nobody disturbed."""
    for _ in range(LOOKS):
        try:
            return list(folder.glob(pattern))
        except FileNotFoundError:
            continue
    raise AssertionError(f"{folder} does not hold still.")


def content(paths: list[Path]) -> dict[Path, bytes]:
    """What stands in those of the files that are still there."""
    read = {}
    for path in filter(Path.is_file, paths):
        with suppress(FileNotFoundError):
            read[path] = path.read_bytes()
    return read
