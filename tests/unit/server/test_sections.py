"""Which section a capture has, and the part of a page that is made of one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import captured
import deaths
import pytest
from diag_server import hostile
from diag_server.app import create_app
from diag_server.config import ViewerConfig
from diag_server.sections import REPORT, SECTIONS, Shown, part, section_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store, and its viewer as the current one."""
    app = create_app(
        ViewerConfig((tmp_path / "store").as_uri(), str(tmp_path / "index.sqlite"), max_report_bytes=99_999)
    )
    with app.app_context():
        yield tmp_path / "store"


def test_a_kind_has_its_section() -> None:
    """A profile is shown as one; what has no section of its own is shown as a report."""
    profile = captured.made(captured.shop(samples=1)).capture

    assert section_of(profile) is SECTIONS["profile"]
    assert section_of(replace(profile, kind="something new")) is REPORT


def test_a_part_is_made_of_one_file(store: Path) -> None:
    """The first artifact of a wanted kind is read, and what the view makes of it is shown."""
    made = deaths.write(captured.made(captured.shop(samples=1)), store)

    content = part("x.html", lambda data: data[:1], "transcript", "summary").content(made.capture)

    assert content == {"section": Shown("x.html", b"{"), "trouble": ""}


@pytest.mark.parametrize(
    ("content", "trouble"), [(b"{", "not JSON"), (b"x" * 100_000, "larger than"), (None, "no summary")]
)
def test_a_part_that_cannot_be_read_is_told(store: Path, content: bytes | None, trouble: str) -> None:
    """A bad file, a large one and a missing one are a sentence, and no section."""
    files = {"summary.json": content} if content is not None else {}
    made = deaths.write(captured.with_files(captured.made(captured.shop(samples=1)), files), store)

    found = part("x.html", hostile.parse_json, "summary").content(made.capture)

    assert found["section"] is None and trouble in found["trouble"]
