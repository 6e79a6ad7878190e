"""From a packet to what it carries: link, IP and transport headers, each read within what was captured.

Formats: tcpdump.org/linktypes.html, RFC 791, 8200, 768, 9293. Nothing here raises: what cannot be read carries nothing.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

TCP, UDP = 6, 17
ICMP, ICMP6 = 1, 58
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_TAGS = (0x8100, 0x88A8, 0x9100)
_ETHERNET, _NULL, _LOOP, _COOKED, _COOKED_2 = 1, 0, 108, 113, 276
_RAW = (12, 14, 101, 228, 229)
_MOST_EXTENSIONS = 8
_QUOTED_BYTES = {ICMP: 8 + 20 + 8, ICMP6: 8 + 40 + 8}  # an error of ICMP quotes the headers of what it is about
_SHORT = struct.Struct(">H").unpack_from
_TCP = struct.Struct(">IIBBH").unpack_from
_COOKED_2_START = struct.Struct(">HHI").unpack_from


class Segment(NamedTuple):
    """What one packet carries. `addresses` are source and destination, `ports` too, as they stand in the headers.

    `payload` is where the file holds the first byte behind the headers that could be read, `captured` how many bytes
    are there, and `size` how many the packet had.
    """

    protocol: int
    addresses: bytes
    ports: bytes
    interface: int
    payload: int
    captured: int
    size: int
    sequence: int = 0
    acknowledged: int = 0
    flags: int = 0
    window: int = 0


def dissect(content: bytes | mmap.mmap, link: int, start: int, end: int, wire_size: int) -> Segment:
    """The packet that stands at `start` to `end`; `protocol` is -1 where it is no IP, or cannot be read."""
    kind, at, interface = _link(content, link, start, end)
    wire_end = start + wire_size
    if kind == 4 and end - at >= 20:
        return _ipv4(content, at, end, wire_end, interface)
    if kind == 6 and end - at >= 40:
        return _ipv6(content, at, end, wire_end, interface)
    readable = min(at, end)
    return Segment(-1, b"", b"", interface, readable, end - readable, max(0, wire_end - readable))


def _link(content: bytes | mmap.mmap, link: int, start: int, end: int) -> tuple[int, int, int]:
    """(IP version or 0, where the next header is, number of the interface)."""
    if link == _COOKED_2 and end - start >= 20:
        kind, _, interface = _COOKED_2_START(content, start)
        return _version(kind), _behind(kind, start + 20), interface
    if link == _COOKED and end - start >= 16:
        kind = _SHORT(content, start + 14)[0]
        return _version(kind), _behind(kind, start + 16), 0
    if link == _ETHERNET and end - start >= 14:
        at = start + 12
        kind = _SHORT(content, at)[0]
        while kind in _TAGS and at + 6 <= end and at < start + 20:
            at += 4
            kind = _SHORT(content, at)[0]
        return _version(kind), _behind(kind, at + 2), 0
    at = start + 4 if link in (_NULL, _LOOP) else start if link in _RAW else end
    return (content[at] >> 4 if at < end else 0), at, 0


def _version(kind: int) -> int:
    return 4 if kind == _IPV4 else 6 if kind == _IPV6 else 0


def _behind(kind: int, at: int) -> int:
    return at + 28 if kind == _ARP else at  # addresses only, nothing that a program said


def _ipv4(content: bytes | mmap.mmap, at: int, end: int, wire_end: int, interface: int) -> Segment:
    length = (content[at] & 0x0F) * 4
    total = _SHORT(content, at + 2)[0]
    # Offloading leaves 0 for a segment that is longer than the field can say.
    wire_end = min(wire_end, at + total) if total else wire_end
    fragment = _SHORT(content, at + 6)[0] & 0x1FFF
    behind = at + max(20, length)
    addresses = bytes(content[at + 12 : at + 20])
    protocol = content[at + 9] if not fragment else -1
    return _transport(content, protocol, addresses, behind, end, wire_end, interface)


def _ipv6(content: bytes | mmap.mmap, at: int, end: int, wire_end: int, interface: int) -> Segment:
    total = _SHORT(content, at + 4)[0]
    wire_end = min(wire_end, at + 40 + total) if total else wire_end
    addresses = bytes(content[at + 8 : at + 40])
    protocol, behind = content[at + 6], at + 40
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in (0, 43, 44, 60) or behind + 8 > end:
            break
        if protocol == 44 and _SHORT(content, behind + 2)[0] & 0xFFF8:
            protocol = -1
            break
        size = 8 if protocol == 44 else 8 + content[behind + 1] * 8
        protocol = content[behind]
        behind += size
    return _transport(content, protocol, addresses, behind, end, wire_end, interface)


def _transport(
    content: bytes | mmap.mmap, protocol: int, addresses: bytes, at: int, end: int, wire_end: int, interface: int
) -> Segment:
    if protocol == TCP and at + 20 <= end:
        sequence, acknowledged, offset, flags, window = _TCP(content, at + 4)
        payload = at + max(20, (offset >> 4) * 4)
        captured, size = max(0, min(end, wire_end) - payload), max(0, wire_end - payload)
        ports = bytes(content[at : at + 4])
        behind = min(payload, end)
        return Segment(TCP, addresses, ports, interface, behind, captured, size, sequence, acknowledged, flags, window)
    if protocol == UDP and at + 8 <= end:
        payload = at + 8
        captured, size = max(0, min(end, wire_end) - payload), max(0, wire_end - payload)
        return Segment(UDP, addresses, bytes(content[at : at + 4]), interface, payload, captured, size)
    readable = min(end, at + _QUOTED_BYTES.get(protocol, 0))
    known = protocol if protocol in _QUOTED_BYTES else -1
    return Segment(known, addresses, b"", interface, readable, end - readable, max(0, wire_end - readable))
