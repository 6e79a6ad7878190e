"""The black box's slots and rings, as layout.py describes them."""

from __future__ import annotations

import marshal
import time
from pathlib import Path
from typing import Any

import pytest
from boxes import Box as Seen

from diag.probe.diag_probe import blackbox, layout


def request(number: int, path: str = "/") -> tuple[Any, ...]:
    """A request's record."""
    return (f"r{number}", "0" * 32, "1" * 16, "GET", path, time.time(), number)


@pytest.fixture
def box(tmp_path: Path) -> Any:
    """A box in an empty folder."""
    made = blackbox.create(str(tmp_path))
    assert made is not None
    return made


def seen(box: Any, folder: Path) -> Seen:
    """The box as its file says."""
    return Seen(folder / box.name)


def test_request_from_start_to_end(box: Any, tmp_path: Path) -> None:
    """A slot while it lasts, then the ring; both counted."""
    slot = box.begin(request(1))
    assert [record[0] for record in seen(box, tmp_path).in_flight] == ["r1"]

    box.finish(slot, request(1), time.monotonic() - 2, 404)

    after = seen(box, tmp_path)
    assert after.in_flight == []
    ((*_, duration, status),) = after.finished
    assert 2 <= duration < 60 and status == 404
    assert (after.counter(layout.STARTED_AT), after.counter(layout.FINISHED_AT)) == (1, 1)
    assert after.heap is not None and after.heap["gcEnabled"]


def test_more_requests_than_slots(box: Any, tmp_path: Path) -> None:
    """What finds no slot is counted, and finishes all the same."""
    slots = [box.begin(request(number)) for number in range(layout.SLOT_COUNT + 3)]
    assert slots.count(None) == 3
    for number, slot in enumerate(slots):
        box.finish(slot, request(number), time.monotonic(), 200)

    after = seen(box, tmp_path)

    assert after.counter(layout.OVERFLOW_AT) == 3
    assert after.counter(layout.FINISHED_AT) == layout.SLOT_COUNT + 3
    assert [record[0] for record in after.finished] == [f"r{number}" for number in range(67, 131)]
    assert box.begin(request(1)) is not None


def test_request_that_changes_its_span(box: Any, tmp_path: Path) -> None:
    """A slot can be rewritten while it lasts."""
    slot = box.begin(request(1))

    box.rewrite(slot, request(2))

    assert [record[0] for record in seen(box, tmp_path).in_flight] == ["r2"]


def test_ring_of_events(box: Any, tmp_path: Path) -> None:
    """The last eight are kept, and all are counted."""
    indexes = [box.add_event(marshal.dumps({"number": number}, 4)) for number in range(11)]

    assert indexes == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2]
    assert [event["number"] for event in seen(box, tmp_path).events] == list(range(3, 11))


def test_record_that_does_not_fit_changes_nothing(box: Any, tmp_path: Path) -> None:
    """A payload larger than its place is refused; its neighbours are whole."""
    box.write_heap({"time": 1.0})

    assert not box.write_fatal(b"x" * layout.FATAL_SIZE)
    assert not box.write(layout.HEAP_AT, layout.HEAP_SIZE, b"x" * (layout.HEAP_SIZE - 3))

    assert seen(box, tmp_path).heap == {"time": 1.0}
    assert seen(box, tmp_path).fatal is None


def test_long_command_line(box: Any, tmp_path: Path) -> None:
    """The header keeps what fits of it."""
    box.write_header({"argv": ["x" * 1000] * 1000, "pid": 1})

    header = seen(box, tmp_path).header
    assert header["pid"] == 1 and header["argv"] == ["x" * 256] * 4


def test_abandoned_box_is_never_written(box: Any, tmp_path: Path) -> None:
    """After a fork the parent's box stays as the parent wrote it."""
    slot = box.begin(request(1))
    before = seen(box, tmp_path).bytes

    box.abandon()
    box.finish(slot, request(1), 0.0, 200)
    box.rewrite(slot, request(2))
    assert box.begin(request(2)) is None
    box.mark(layout.LEFT_CLEANLY)
    box.count_dropped()
    box.add_event(b"x")

    assert seen(box, tmp_path).bytes == before


def test_no_folder_no_box(tmp_path: Path) -> None:
    """Where the file cannot be made there is no box, and no error."""
    assert blackbox.create(str(tmp_path / "missing")) is None
