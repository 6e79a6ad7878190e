"""Capture files made by hand: packets that no real stack would send, or not when a test wants them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from diag.packets.headers import ACK, FIN, PSH, RST, SYN

ETHERNET, COOKED, COOKED_2, RAW, NULL = 1, 113, 276, 101, 0
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN", "Line", "capture", "framed", "tcp", "udp", "write"]


def tcp(
    source: tuple[str, int],
    target: tuple[str, int],
    seq: int,
    ack: int,
    flags: int,
    data: bytes = b"",
    window: int = 500,
) -> bytes:
    """An IP packet with a TCP segment; IPv6 where the addresses are."""
    ports = struct.pack(">HH", source[1], target[1])
    segment = ports + struct.pack(">IIBBHHH", seq % (1 << 32), ack % (1 << 32), 5 << 4, flags, window, 0, 0) + data
    return _ip(source[0], target[0], 6, segment)


def udp(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    """An IP packet with a datagram."""
    return _ip(source[0], target[0], 17, struct.pack(">HHHH", source[1], target[1], 8 + len(data), 0) + data)


def _ip(source: str, target: str, protocol: int, rest: bytes) -> bytes:
    if ":" in source:
        ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
        return struct.pack(">IHBB", 6 << 28, len(rest), protocol, 64) + ends + rest
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(rest), 1, 0, 64, protocol, 0) + ends + rest


def framed(packet: bytes, link: int, interface: int = 1) -> bytes:
    """The packet behind the header of its link."""
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return {
        ETHERNET: b"\2" * 12 + struct.pack(">H", kind),
        COOKED: b"\0" * 14 + struct.pack(">H", kind),
        COOKED_2: struct.pack(">HHIHBB8s", kind, 0, interface, 1, 0, 6, b""),
        RAW: b"",
        NULL: struct.pack("=I", 2),
    }[link] + packet


def capture(packets: Iterable[tuple[float, bytes]], link: int = COOKED_2, snaplen: int = 262_144) -> bytes:
    """A file of frames with their times."""
    content = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)]
    for time, frame in packets:
        kept = frame[:snaplen]
        content += [struct.pack("<IIII", int(time), round(time % 1 * 1e6), len(kept), len(frame)), kept]
    return b"".join(content)


class Line:
    """A TCP conversation from its first SYN on, said by hand."""

    def __init__(
        self, client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER, start: float = 100.0
    ) -> None:
        self.client, self.server, self.time = client, server, start
        self.up, self.down = (1 << 32) - 50, 7000  # the client's numbers begin anew soon
        self.packets: list[tuple[float, bytes]] = []
        self.add(tcp(client, server, self.up, 0, SYN))
        self.add(tcp(server, client, self.down, self.up + 1, SYN | ACK))
        self.up, self.down = self.up + 1, self.down + 1
        self.add(tcp(client, server, self.up, self.down, ACK))

    def add(self, packet: bytes, after_s: float = 0.001) -> None:
        """A packet of any kind."""
        self.packets.append((self.time, packet))
        self.time += after_s

    def ask(self, data: bytes) -> None:
        """From the client."""
        self.add(tcp(self.client, self.server, self.up, self.down, PSH | ACK, data))
        self.up += len(data)

    def answer(self, data: bytes, after_s: float = 0.01) -> None:
        """From the server."""
        self.time += after_s - 0.001
        self.add(tcp(self.server, self.client, self.down, self.up, PSH | ACK, data))
        self.down += len(data)

    def content(self, link: int = COOKED_2, snaplen: int = 262_144) -> bytes:
        """The file."""
        return capture(((time, framed(packet, link)) for time, packet in self.packets), link, snaplen)


def write(folder: Path, content: bytes) -> Path:
    """The file, in the folder."""
    path = folder / "made.pcap"
    path.write_bytes(content)
    return path
