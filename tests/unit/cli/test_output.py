"""Files that a user names."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from diag.cli.output import STDOUT, check_writable, write_private
from diag.errors import DiagError, UsageError


def test_a_device_keeps_its_mode() -> None:
    """Only files are closed to others: `-o /dev/stdout` changes no device."""
    before = Path("/dev/null").stat().st_mode

    write_private(Path("/dev/null"), b"x")

    assert Path("/dev/null").stat().st_mode == before


@pytest.mark.parametrize("place", ["", ".", "missing/out"])
def test_what_cannot_be_written_is_refused_beforehand(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, and one that is not there: before anything was captured."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DiagError, match="cannot be written"):
        check_writable(Path(place))


def test_standard_output_is_had_by_one(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`-o -` takes bytes and files there, and no file is made; beside `--json` it is refused."""
    (tmp_path / "source").write_bytes(b"\x00two")

    check_writable(STDOUT)
    write_private(STDOUT, b"one")
    write_private(STDOUT, tmp_path / "source")

    assert capfdbinary.readouterr().out == b"one\x00two"
    assert not STDOUT.exists()
    with pytest.raises(UsageError):
        check_writable(STDOUT, as_json=True)


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
