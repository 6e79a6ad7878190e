"""Reading capture files: what the wire shows, in every framing, damaged or hostile."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcaps import (
    ACK,
    CLIENT,
    COOKED,
    COOKED_2,
    ETHERNET,
    NULL,
    RAW,
    RST,
    SERVER,
    SYN,
    Line,
    capture,
    framed,
    tcp,
    udp,
    write,
)

from diag.packets.read import Payload, Reading, read
from diag.redact import Redactor

REQUEST = b"GET /cart HTTP/1.1\r\nHost: shop\r\nX-Request-ID: r-1\r\nCookie: sid=bovine\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nporcin"


def reading(folder: Path, content: bytes, payload: Payload = "heads") -> Reading:
    """The file as it is read."""
    return read(write(folder, content), payload, Redactor())


def exchanges(found: Reading) -> list[dict[str, Any]]:
    """All that was decoded, in order."""
    told = found.to_json()
    return sorted(
        (*told["slowest"], *(one for one in told["failed"] if one["latency_s"] is None)), key=lambda e: e["started"]
    )


def shop() -> Line:
    """One request and its answer."""
    line = Line()
    line.ask(REQUEST)
    line.answer(ANSWER)
    return line


@pytest.mark.parametrize("link", [ETHERNET, COOKED, COOKED_2, RAW, NULL])
def test_every_framing_is_read(tmp_path: Path, link: int) -> None:
    """Ethernet, cooked, raw and loopback frames carry the same conversation."""
    found = reading(tmp_path, shop().content(link))

    assert [(one["what"], one["status"], one["latency_s"]) for one in exchanges(found)] == [("GET /cart", "200", 0.01)]
    assert found.packets == 5


def test_ipv6_is_read(tmp_path: Path) -> None:
    """Addresses of version 6 stand in brackets."""
    line = Line(("2001:db8::1", 40000), ("2001:db8::2", 80))
    line.ask(REQUEST)
    line.answer(ANSWER)

    found = reading(tmp_path, line.content())

    assert exchanges(found)[0]["server"] == "[2001:db8::2]:80"


def test_segments_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    """A request in pieces, the last first, is one request; it counts as reordered, not as sent again."""
    line = Line()
    start = line.up
    for begin in (40, 20, 0):
        line.add(tcp(CLIENT, SERVER, start + begin, line.down, ACK, REQUEST[begin : begin + 20]), after_s=0.0001)
    line.add(tcp(CLIENT, SERVER, start + 60, line.down, ACK, REQUEST[60:]))
    line.up = start + len(REQUEST)
    line.answer(ANSWER)

    found = reading(tmp_path, line.content())

    assert [one["what"] for one in exchanges(found)] == ["GET /cart"]
    assert found.to_json()["event_counts"] == {"out of order": 1}


def test_what_is_sent_again_is_counted_once_and_read_once(tmp_path: Path) -> None:
    """A retransmission makes no second request, and nothing of it stays in the file."""
    line = Line()
    line.ask(REQUEST)
    line.add(tcp(CLIENT, SERVER, line.up - len(REQUEST), line.down, ACK, REQUEST))
    line.answer(ANSWER)

    found = reading(tmp_path, line.content())

    assert len(exchanges(found)) == 1
    assert found.to_json()["event_counts"] == {"retransmission": 1}
    assert (tmp_path / "made.pcap").read_bytes().count(b"GET /cart") == 1


def test_the_same_packet_on_two_interfaces_is_one(tmp_path: Path) -> None:
    """A packet that passes a bridge is seen twice, and is no retransmission."""
    frames = [(time, framed(packet, COOKED_2, interface)) for time, packet in shop().packets for interface in (1, 2)]

    told = reading(tmp_path, capture(frames)).to_json()

    assert (told["exchanges"], told["copies"], told["event_counts"]) == (1, 5, {})


def test_a_hole_loses_only_what_is_in_it(tmp_path: Path) -> None:
    """Packets that the kernel dropped: the next request is read again."""
    line = Line()
    line.ask(REQUEST)
    line.answer(ANSWER)
    line.ask(REQUEST)
    lost = len(line.packets)
    line.answer(ANSWER)
    line.ask(REQUEST)
    line.answer(ANSWER)
    del line.packets[lost]

    found = reading(tmp_path, line.content())

    assert [one["status"] for one in exchanges(found)].count("200") == 2
    assert found.to_json()["conversations"][0]["missing_bytes"] == len(ANSWER)


def test_short_packets_still_tell(tmp_path: Path) -> None:
    """With a small snaplen the request line and the status are there."""
    found = reading(tmp_path, shop().content(snaplen=100))

    assert [(one["what"], one["status"]) for one in exchanges(found)] == [("GET /cart", "200")]
    assert found.cut == 2


def test_a_refusal_and_a_reset_are_different(tmp_path: Path) -> None:
    """RST for a SYN refuses; RST later breaks off, and what waits has failed."""
    refused, broken = ("10.0.0.1", 5000), Line()
    broken.ask(REQUEST)
    broken.add(tcp(SERVER, CLIENT, broken.down, broken.up, RST))
    packets = [
        *broken.packets,
        (200.0, tcp(refused, SERVER, 1, 0, SYN)),
        (200.1, tcp(SERVER, refused, 0, 2, RST | ACK)),
    ]

    found = reading(tmp_path, capture((time, framed(packet, COOKED_2)) for time, packet in packets))

    assert found.to_json()["event_counts"] == {"refused": 1, "reset": 1}
    assert [(one["status"], one["failed"]) for one in exchanges(found)] == [("connection reset", True)]


@pytest.mark.parametrize(("payload", "stays"), [("none", []), ("heads", [b"GET /cart", b"r-1", b"200 OK"])])
def test_what_stays_in_the_file(tmp_path: Path, payload: Payload, stays: list[bytes]) -> None:
    """Cookies and bodies never; heads where they were asked for; the file keeps its length."""
    content = shop().content()

    reading(tmp_path, content, payload)

    left = (tmp_path / "made.pcap").read_bytes()
    assert len(left) == len(content)
    for word in (b"GET /cart", b"r-1", b"200 OK", b"bovine", b"porcin"):
        assert (word in left) == (word in stays)


@pytest.mark.parametrize("cut", [0, 3, 24, 30, 60, 150])
def test_a_damaged_file_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    """A file that ends anywhere has its packets before, and says why there are no more."""
    found = reading(tmp_path, shop().content()[:cut])

    assert bool(found.trouble) == (cut != 24)
    assert found.packets == {150: 1}.get(cut, 0)


def seeds() -> list[bytes]:
    """One conversation of each protocol, with secrets in it."""
    talks = {
        80: ([REQUEST], [ANSWER]),
        6379: ([b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\nbovine\r\n"], [b"+OK\r\n", b"*2\r\n$1\r\na\r\n$6\r\nporcin\r\n"]),
        3306: ([b"\x17\0\0\0\x03select 1, 'bovine', 22"], [b"\x07\0\0\x01\xff\x48\x04#42S0"]),
        5432: ([b"Q\0\0\0\x1bselect 'bovine' from t\0"], [b"D\0\0\0\x0b\0\x01\0\0\0\x01xZ\0\0\0\x05I"]),
        9092: ([b"\0\0\0\x14\0\x03\0\x01\0\0\0\x07\0\x06shopxxbovi"], [b"\0\0\0\x08\0\0\0\x07porc"]),
        443: (
            [b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x03" + b"r" * 32 + b"\0\0\x02\x13\x01\x01\0\0\0"],
            [b"\x15\x03\x03\0\x02\x02\x28"],
        ),
    }
    made = []
    for port, (asked, answered) in talks.items():
        line = Line(server=("10.0.0.2", port))
        for data in asked:
            line.ask(data)
        for data in answered:
            line.answer(data)
        made.append(line.content())
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\4shop\7example\0\0\1\0\1"
    packets = [udp(CLIENT, ("10.0.0.3", 53), question), udp(("10.0.0.3", 53), CLIENT, b"\0\7\x81\x83" + question[4:])]
    return [*made, capture((1.0 + at, framed(packet, COOKED_2)) for at, packet in enumerate(packets))]


SEEDS = seeds()


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_no_value_stays(tmp_path: Path, number: int) -> None:
    """Values, bodies and cookies of every protocol are gone from the file and from the summary."""
    found = reading(tmp_path, SEEDS[number])

    left = (tmp_path / "made.pcap").read_bytes() + json.dumps(found.to_json()).encode()
    assert not [word for word in (b"bovi", b"porc") if word in left]


def test_a_secret_in_a_path_goes_too(tmp_path: Path) -> None:
    """What the redactor knows by its form is covered where it stands in what is kept."""
    line = Line()
    line.ask(b"GET /reset/ghp_0123456789abcdefghijABCDEFGHIJ012345 HTTP/1.1\r\nHost: shop\r\n\r\n")
    line.answer(ANSWER)

    found = reading(tmp_path, line.content())

    left = (tmp_path / "made.pcap").read_bytes()
    assert b"ghp_" not in left + json.dumps(found.to_json()).encode()
    assert b"Host: shop" in left
    assert exchanges(found)[0]["what"] == "GET /reset/[redacted:github-token]"


def test_the_seeds_are_understood(tmp_path: Path) -> None:
    """Each protocol decodes its seed, so that what changes it is a test of something."""
    told = [reading(tmp_path, seed).to_json()["protocols"] for seed in SEEDS]

    assert [one[0]["name"] for one in told] == ["http", "redis", "mysql", "postgresql", "kafka", "tls", "dns"]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12),
    st.integers(0, 400),
    st.sampled_from(["none", "heads", "full"]),
)
def test_hostile_files_are_read(seed: bytes, changes: list[tuple[int, int]], cut: int, payload: Payload) -> None:
    """Whatever the bytes are, reading ends with a summary that JSON takes."""
    content = bytearray(seed)
    for at, value in changes:
        content[at % len(content)] = value
    if cut < 100:
        del content[-cut or len(content) :]
    with tempfile.TemporaryDirectory() as folder:
        found = reading(Path(folder), bytes(content), payload)

        json.dumps(found.to_json(), allow_nan=False)
        if payload == "none" and not changes:
            assert b"bovine" not in (Path(folder) / "made.pcap").read_bytes()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([80, 6379, 3306, 5432, 9092, 443, 53]),
    st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=60)), max_size=12),
    st.sampled_from(SEEDS),
)
def test_hostile_talk_is_read(port: int, said: list[tuple[bool, bytes]], seed: bytes) -> None:
    """Whatever two ends say, before it or after it, reading ends."""
    line = Line(server=("10.0.0.2", port))
    line.ask(seed[-80:])
    for from_client, data in said:
        (line.ask if from_client else line.answer)(data)
    with tempfile.TemporaryDirectory() as folder:
        json.dumps(reading(Path(folder), line.content(snaplen=120)).to_json(), allow_nan=False)
