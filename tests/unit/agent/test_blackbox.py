"""Black boxes as a killed writer leaves them."""

from __future__ import annotations

import marshal
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from diag.agent.blackbox import Box, exception_seen, read, threads_seen
from diag.probe.diag_probe import layout


def box_with(records: dict[int, Any], path: Path) -> Path:
    """A black box file with marshalled records at offsets."""
    content = bytearray(layout.SIZE)
    content[: len(layout.MAGIC)] = layout.MAGIC
    for offset, value in records.items():
        packed = marshal.dumps(value, 4)
        struct.pack_into(f"<I{len(packed)}s", content, offset, len(packed), packed)
    path.write_bytes(content)
    return path


def test_requests_and_header_are_read(tmp_path: Path) -> None:
    """Requests in flight come with their ids, their start and their thread."""
    slot = ("req-1", "ab" * 16, "cd" * 8, "GET", "/pay", 1700000000.5, 4711)
    done = ("req-0", None, None, "POST", "/cart", 1700000000.0, 4711, 0.25, 201)
    records = {layout.HEADER_AT: {"version": "3.12.1"}, layout.SLOTS_AT: slot, layout.RECENT_AT: done}

    witness = read(box_with(records, tmp_path / "box"))

    assert witness is not None
    (request,), (finished,) = witness.in_flight, witness.finished
    assert (request.request_id, request.path, request.thread_id, request.duration_s) == ("req-1", "/pay", 4711, None)
    assert (finished.method, finished.duration_s, finished.status) == ("POST", 0.25, 201)
    assert witness.runtime == {"version": "3.12.1"}


@pytest.mark.parametrize("bad", [("x",) * 7, (1, 2), None, "text", (None, None, None, "GET", "/", float("inf"), 1)])
def test_a_torn_slot_is_no_request(bad: Any, tmp_path: Path) -> None:
    """A slot that is not what the layout says is left out, and nothing else is."""
    good = (None, None, None, "GET", "/", 1700000000.0, 1)
    records = {layout.SLOTS_AT: bad, layout.SLOTS_AT + layout.SLOT_SIZE: good}

    witness = read(box_with(records, tmp_path / "box"))

    assert witness is not None
    assert [request.path for request in witness.in_flight] == ["/"]


def test_the_ring_gives_the_newest_events_in_order(tmp_path: Path) -> None:
    """After a wrap the ring holds the last events, oldest first, and only those not seen before are given."""
    records = {
        layout.EVENTS_RING_AT + number % layout.EVENT_COUNT * layout.EVENT_SIZE: {"n": number, "exception": {}}
        for number in range(11)
    }
    path = box_with(records, tmp_path / "box")
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, layout.EVENTS_AT, 11)

    box = Box(bytes(content))

    assert [event["n"] for event in box.events()] == list(range(3, 11))
    assert [event["n"] for event in box.events(since=9)] == [9, 10]


def test_only_a_whole_regular_file_is_a_box(tmp_path: Path) -> None:
    """A short file, a link and a FIFO are no black box, and none of them blocks the reader."""
    whole = box_with({}, tmp_path / "box")
    (tmp_path / "short").write_bytes(layout.MAGIC)
    (tmp_path / "link").symlink_to(whole)
    os.mkfifo(tmp_path / "fifo")

    assert Box.open(whole) is not None
    assert [Box.open(tmp_path / name) for name in ("short", "link", "fifo", "absent")] == [None] * 4


def test_an_exception_of_strange_parts_is_still_one() -> None:
    """Whatever a torn record holds, an exception comes of it."""
    seen = exception_seen(
        {"type": None, "message": 3, "frames": [("f",), ("g", "a.py", 7)], "cause": "no", "notes": [1]}
    )

    assert (seen.type, seen.message, seen.cause, seen.notes) == ("?", "3", None, ("1",))
    assert [(frame.function, frame.line) for frame in seen.frames] == [("f", None), ("g", 7)]


@pytest.mark.parametrize(
    "threads", [None, 5, [1], [("x", "name", 3)], [(None, None, [])], [(7, "main", [("f", "a.py", 1)])]]
)
def test_threads_of_a_torn_record_are_what_is_whole(threads: Any) -> None:
    """The thread that raised is always there, first and marked, whatever the others are."""
    record = {"tid": 7, "exception": {"type": "E", "frames": [("f", "a.py", 3)]}, "threads": threads}

    first, *_ = threads_seen(record, 1)

    assert (first.thread_id, first.crashed, first.frames[0].line) == (7, True, 3)
