"""Files that a user names."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from diag.cli.output import write_private
from diag.errors import DiagError


def test_a_device_keeps_its_mode() -> None:
    """Only files are closed to others: `-o /dev/stdout` changes no device."""
    before = Path("/dev/null").stat().st_mode

    write_private(Path("/dev/null"), b"x")

    assert Path("/dev/null").stat().st_mode == before


def test_half_a_file_is_not_left_behind(tmp_path: Path) -> None:
    """What does not fit is refused with its reason, and nothing stands there that looks like a whole file."""
    path = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DiagError, match="File too large"):
            write_private(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not path.exists()
