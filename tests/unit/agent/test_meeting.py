"""The folder where instances join."""

from __future__ import annotations

import marshal
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diag.agent import meeting
from diag.agent.meeting import AlreadyServed, Meeting
from diag.config import Settings, load
from diag.errors import UsageError
from diag.probe.diag_probe import layout
from diag.spool import spools


@pytest.fixture
def settings(home: Path) -> Settings:
    """Those of a machine with nothing configured."""
    return load(environ=os.environ)


@pytest.fixture
def place(settings: Settings) -> Iterator[Meeting]:
    """Held by us."""
    one = Meeting(meeting.socket_of(settings, None), settings.run_dir)
    yield one
    one.listener.close()
    one.close()


def box(path: Path) -> Path:
    """A black box of pid 7 of some namespace, that was not closed; as old as an earlier agent."""
    header = marshal.dumps({"pid": 7, "argv": ["python", "/srv/app.py"], "version": "3.11.7"}, 4)
    content = bytearray(layout.SIZE)
    content[: len(layout.MAGIC)] = layout.MAGIC
    content[layout.HEADER_AT : layout.HEADER_AT + 4 + len(header)] = len(header).to_bytes(4, "little") + header
    path.write_bytes(content)
    os.utime(path, (1, 1))
    return path


def test_what_the_last_agent_did_not_hear_of_is_recorded_where_nobody_lives(place: Meeting, settings: Settings) -> None:
    """A pid in a box's name may be of another namespace: whoever has the box mapped lives."""
    dead, living = (box(place.folder / layout.BOX_FOLDER / f"7-{name}.bb") for name in ("dead", "living"))
    new = box(place.folder / layout.BOX_FOLDER / "7-new.bb")
    os.utime(new)
    with living.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        place.sweep(settings)

    assert (dead.exists(), living.exists(), new.exists()) == (False, True, True)
    assert spools(settings)[0].account().received == 1


def test_one_agent_serves_at_a_place(place: Meeting, settings: Settings) -> None:
    """A second one is told so, and the first one's socket stays."""
    with pytest.raises(AlreadyServed):
        Meeting(place.path, settings.run_dir)
    assert place.path.is_socket()


def test_boxes_can_be_taken_to_their_instances(settings: Settings) -> None:
    """On another file system they could not: that is said before anybody joins."""
    elsewhere = Path(tempfile.mkdtemp(prefix="dg", dir="/dev/shm"))
    try:
        with pytest.raises(UsageError, match="cross-device"):
            Meeting(elsewhere / "s", settings.run_dir)
    finally:
        shutil.rmtree(elsewhere)


def test_the_probe_is_copied_whole(place: Meeting) -> None:
    """The instances' PYTHONPATH has the very files that diag run injects."""
    copied = place.folder / meeting.PROBE_COPY
    wanted = {path.relative_to(meeting.PROBE): path.read_bytes() for path in meeting.PROBE.rglob("*.py")}
    del wanted[Path("__init__.py")]
    assert {path.relative_to(copied): path.read_bytes() for path in copied.rglob("*") if path.is_file()} == wanted
