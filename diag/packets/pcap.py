"""A packet capture file as tcpdump writes it: records with their times and places. Format: pcap-savefile(5)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

FILE_HEADER = struct.Struct("IHHiIII")
RECORD_BYTES = 16
LARGEST_PACKET = 1 << 18  # libpcap's own limit
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}


class Damaged(ValueError):
    """This is no capture file, or not one from here on."""


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The start of the file: byte order, unit of the clock, and what kind of link its packets are of."""

    order: str
    tick_s: float
    snaplen: int
    link: int


class Record(NamedTuple):
    """A packet: when, where its bytes stand in the file, how many of them are there, and how many there were."""

    time: float
    start: int
    end: int
    wire_size: int


def read_header(content: bytes | mmap.mmap) -> FileHeader:
    """The header of the file. Raises Damaged."""
    magic = bytes(content[:4])
    if magic not in _MAGIC or len(content) < FILE_HEADER.size:
        raise Damaged("this is no capture file of tcpdump")
    order, tick_s = _MAGIC[magic]
    *_, snaplen, link = struct.unpack_from(order + "IHHiIII", content)
    # The upper bits may say how long the frame check sequence is.
    return FileHeader(order, tick_s, snaplen, link & 0x0FFF_FFFF)


def records(content: bytes | mmap.mmap, header: FileHeader) -> Iterator[Record]:
    """Each whole packet. Raises Damaged where what follows cannot be one, after those before it."""
    position, size, unpack = FILE_HEADER.size, len(content), struct.Struct(header.order + "IIII").unpack_from
    tick_s = header.tick_s
    while position + RECORD_BYTES <= size:
        seconds, fraction, captured, wire_size = unpack(content, position)
        start = position + RECORD_BYTES
        position = start + captured
        if captured > LARGEST_PACKET:
            raise Damaged(f"a packet of {captured} bytes stands at byte {start}")
        if position > size:
            raise Damaged("its last packet is cut off")
        yield Record(seconds + fraction * tick_s, start, position, wire_size)
    if position != size:
        raise Damaged("its last packet is cut off")
