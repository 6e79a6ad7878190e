"""The file that packets go into: whole packets, no more than it may hold."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcaps import capture

from diag.collectors.pcap_sink import PcapSink
from diag.packets.pcap import read_header, records


def contents(path: Path) -> list[bytes]:
    """The packets of the file, which is whole."""
    content = path.read_bytes()
    return [content[start:end] for _, start, end, _ in records(content, read_header(content))]


def fill(path: Path, packets: list[bytes], limit: int, *, ring: bool, step: int = 1000) -> PcapSink:
    """A sink that took these packets in chunks of `step` bytes."""
    content = capture((float(at), packet) for at, packet in enumerate(packets))
    sink = PcapSink(path, limit, ring=ring)
    for at in range(0, len(content), step):
        sink.take(content[at : at + step])
    sink.close()
    return sink


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=90), max_size=60), st.booleans(), st.integers(1, 500))
def test_what_stays_is_whole(
    tmp_path_factory: pytest.TempPathFactory, packets: list[bytes], ring: bool, step: int
) -> None:
    """The first packets or the last ones, in order, within the limit, however the pipe cuts them."""
    path = tmp_path_factory.mktemp("sink") / "out.pcap"

    sink = fill(path, packets, 2000, ring=ring, step=step)

    kept = contents(path)
    assert path.stat().st_size <= 2000
    assert kept == (packets[len(packets) - len(kept) :] if ring else packets[: len(kept)])
    assert sink.packets == len(kept)
    assert sink.full == (not ring and len(kept) < len(packets))
    assert sink.forgotten == (len(packets) - len(kept) if ring else 0)
    assert [one.name for one in path.parent.iterdir()] == ["out.pcap"]


def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    """What cannot be written is told, and no error comes out of it."""
    sink = PcapSink(tmp_path / "out.pcap", 10_000, ring=False)
    sink._file.close()
    sink._file = FileIO("/dev/full", "wb")

    sink.take(capture([(1.0, b"packet")]))
    sink.close()

    assert sink.full
    assert sink.trouble == "No space left on device"
