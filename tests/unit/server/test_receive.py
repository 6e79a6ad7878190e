"""Uploads as they come: whole, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from diag_server.errors import BadUpload
from diag_server.receive import receive


class Broken:
    """A body that has some bytes, and then only trouble."""

    def __init__(self, error: OSError) -> None:
        self._error, self._left = error, [b"hello"]

    def read(self, size: int = -1, /) -> bytes:
        """The bytes, once."""
        if not self._left:
            raise self._error
        return self._left.pop()


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), BlockingIOError()])
def test_a_sender_that_goes_away_leaves_nothing(error: OSError, tmp_path: Path) -> None:
    """A connection that breaks off, or stands still for too long, is an upload that ended early: no defect of ours."""
    with pytest.raises(BadUpload, match="ended after 5 of 50 bytes"):
        with receive(Broken(error), 50, "0" * 64, 100, tmp_path):
            pytest.fail("it is not whole")

    assert not list(tmp_path.iterdir())
