"""What the next diag makes of the black boxes of a killed agent."""

from __future__ import annotations

import marshal
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diag import config
from diag.agent import registry
from diag.agent.recover import recover
from diag.agent.registry import Target
from diag.config import Settings
from diag.model import Capture, moment_of, new_capture_id, parse_stamp
from diag.probe.diag_probe import layout
from diag.spool import Spool

GONE = 4_194_304  # above the highest pid there can be
DIED = datetime.now(UTC) - timedelta(days=3)


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings of a machine without any."""
    return config.load()


def left_box(settings: Settings, state: int, fatal: bool = True) -> Path:
    """The black box of a process that is gone, as its agent is: a run folder with one in it."""
    folder = settings.run_dir / "0123456789ab"
    (folder / layout.BOX_FOLDER).mkdir(parents=True)
    registry.publish(
        Target(GONE, 1, "shop", "shop", "shop-1", "box", agent_pid=GONE, agent_start_ticks=1, run_dir=folder)
    )
    content = bytearray(layout.SIZE)
    content[: len(layout.MAGIC)] = layout.MAGIC
    content[layout.STATE_AT] = state
    if fatal:
        _pack(content, layout.FATAL_AT, _exception())
    path = registry.box_path(folder, GONE, 1)
    path.write_bytes(content)
    return path


def _exception() -> dict[str, Any]:
    said = {"type": "ValueError", "module": "builtins", "message": "no price", "frames": [], "cause": None}
    return {
        "time": DIED.timestamp(),
        "kind": "uncaught",
        "tid": GONE,
        "exception": {**said, "context": None, "exceptions": [], "notes": [], "cut": 0},
        "request": None,
        "suppressed": 0,
        "threads": [],
        "heap": {},
    }


def _pack(content: bytearray, at: int, value: Any) -> None:
    packed = marshal.dumps(value, 4)
    struct.pack_into(f"<I{len(packed)}s", content, at, len(packed), packed)


def waiting(settings: Settings) -> list[Capture]:
    """The captures that wait in the spool."""
    spool = Spool.of(settings)
    return [spool.load(folder) for folder in spool.pending()]


def test_an_exception_that_no_agent_saw_is_recorded(settings: Settings) -> None:
    """An uncaught exception closes its black box, and is a crash all the same."""
    box = left_box(settings, layout.LEFT_CLEANLY)

    assert recover(settings) == 1

    (capture,) = waiting(settings)
    assert (capture.kind, capture.level, capture.title) == ("crash", "FULL", "ValueError: no price")
    assert not box.exists()


def test_a_clean_end_that_no_agent_saw_is_no_crash(settings: Settings) -> None:
    """A process that left cleanly, without an exception, leaves no record."""
    left_box(settings, layout.LEFT_CLEANLY, fatal=False)

    assert recover(settings) == 0
    assert waiting(settings) == []


def test_a_record_made_days_later_has_the_id_of_its_own_time(settings: Settings) -> None:
    """A viewer refuses captures whose id and time are far apart: the id is of the death, not of its discovery."""
    left_box(settings, layout.RUNNING)

    recover(settings)

    (capture,) = waiting(settings)
    assert abs(moment_of(capture.capture_id) - DIED) < timedelta(seconds=1)
    assert abs(parse_stamp(capture.time) - DIED) < timedelta(seconds=1)


def test_what_the_killed_agent_had_recorded_is_not_recorded_again(settings: Settings) -> None:
    """The agent notes the capture's id beside the box before it records; who comes later makes the same, or none."""
    claimed = new_capture_id(DIED)
    for _ in range(2):
        box = left_box(settings, layout.RUNNING)
        registry.claim_path(box).write_text(claimed)
        recover(settings)
        assert not box.exists()

    assert [capture.capture_id for capture in waiting(settings)] == [claimed]


def test_a_claim_that_was_not_written_to_its_end_costs_nothing(settings: Settings) -> None:
    """An agent killed within that note had recorded nothing yet."""
    box = left_box(settings, layout.RUNNING)
    registry.claim_path(box).write_text(new_capture_id()[:9])

    assert recover(settings) == 1
    assert len(waiting(settings)) == 1
    assert list(settings.run_dir.iterdir()) == []
