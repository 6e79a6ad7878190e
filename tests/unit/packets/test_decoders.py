"""What decoders make of conversations that servers of the integration tests do not have."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from pcaps import ACK, FIN, Line, tcp, write

from diag.packets.read import read
from diag.redact import Redactor


def told(folder: Path, line: Line) -> list[tuple[str, str, float | None]]:
    """What was asked, what came of it and after how long, in the order of the questions."""
    summary: dict[str, Any] = read(write(folder, line.content()), "heads", Redactor()).to_json()
    unanswered = [one for one in summary["failed"] if one["latency_s"] is None]
    found = sorted([*summary["slowest"], *unanswered], key=lambda one: one["started"])
    return [(one["what"], one["status"], one["latency_s"]) for one in found]


def message(kind: bytes, body: bytes) -> bytes:
    """A message of PostgreSQL."""
    return kind + struct.pack(">I", 4 + len(body)) + body


def packet(number: int, body: bytes) -> bytes:
    """A packet of MySQL."""
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def test_extended_queries_of_postgresql(tmp_path: Path) -> None:
    """Parse, bind and execute are one question; what was prepared is known later; an error ends its batch."""
    line = Line(server=("10.0.0.2", 5432))
    bind, run, sync = message(b"B", b"\0s1\0\0\0\0\0\0\0"), message(b"E", b"\0\0\0\0\0"), message(b"S", b"")
    row, complete, ready = message(b"D", b"\0\1\0\0\0\1x"), message(b"C", b"SELECT 1\0"), message(b"Z", b"I")
    line.ask(message(b"P", b"s1\0select a from t where b = $1 and c = 'bovine'\0\0\0") + bind + run + sync)
    line.answer(message(b"1", b"") + message(b"2", b"") + row, after_s=0.02)
    line.answer(complete + ready, after_s=0.03)
    line.ask(bind + run + sync)
    line.answer(message(b"2", b"") + message(b"E", b"SERROR\0C57014\0Mcanceling bovine\0\0") + ready, after_s=0.5)

    shape = "select a from t where b = $1 and c = ?"
    assert told(tmp_path, line) == [(shape, "OK", 0.05), (shape, "ERROR 57014", 0.5)]
    assert b"bovine" not in (tmp_path / "made.pcap").read_bytes()


def test_prepared_statements_of_mysql(tmp_path: Path) -> None:
    """What is executed by its number is known by its text; closing one is not answered."""
    line = Line(server=("10.0.0.2", 3306))
    line.ask(packet(0, b"\x16select a from t where b = ?"))
    line.answer(packet(1, b"\0\7\0\0\0\1\0\1\0\0\0\0"))
    line.ask(packet(0, b"\x17\7\0\0\0\0\1\0\0\0bovine"))
    line.answer(packet(1, b"\1") + packet(2, b"porcine"), after_s=0.2)
    line.ask(packet(0, b"\x19\7\0\0\0"))
    line.ask(packet(0, b"\x0e"))
    line.answer(packet(1, b"\0\0\0\2\0\0\0"))

    assert [one[:2] for one in told(tmp_path, line)] == [
        ("PREPARE select a from t where b = ?", "OK"),
        ("EXECUTE select a from t where b = ?", "OK"),
        ("PING", "OK"),
    ]
    left = (tmp_path / "made.pcap").read_bytes()
    assert b"bovine" not in left
    assert b"porcine" not in left


def test_pipelined_requests_of_http(tmp_path: Path) -> None:
    """Requests that do not wait for each other are answered in their order; 100 Continue answers none."""
    line = Line()
    line.ask(b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz")
    line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    line.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", after_s=0.1)

    assert sorted(told(tmp_path, line)) == [("GET /a", "200", 0.01), ("POST /b", "503", 0.11)]


def test_a_body_that_ends_with_its_connection(tmp_path: Path) -> None:
    """Without a length the answer is complete when the server closes."""
    line = Line()
    line.ask(b"GET /stream HTTP/1.0\r\n\r\n")
    line.answer(b"HTTP/1.0 200 OK\r\n\r\nfirst")
    line.answer(b"last", after_s=0.3)
    line.add(tcp(line.server, line.client, line.down, line.up, FIN | ACK))
    line.add(tcp(line.client, line.server, line.up, line.down + 1, FIN | ACK))

    ((what, status, took),) = told(tmp_path, line)

    assert (what, status) == ("GET /stream", "200")
    assert took is not None
    assert took >= 0.3


def test_an_upgrade_ends_what_is_read(tmp_path: Path) -> None:
    """Behind 101 there is another protocol."""
    line = Line()
    line.ask(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    line.answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    line.ask(b"GET /not-http HTTP/1.1\r\n\r\n")

    assert [one[:2] for one in told(tmp_path, line)][:1] == [("GET /ws", "101")]


def test_postgresql_behind_tls(tmp_path: Path) -> None:
    """What follows the server's yes is a handshake."""
    line = Line(server=("10.0.0.2", 5432))
    line.ask(b"\0\0\0\x08\x04\xd2\x16\x2f")
    line.answer(b"S")
    line.ask(b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x03" + b"r" * 32 + b"\0\0\x02\x13\x01\x01\0\0\0")
    line.answer(b"\x15\x03\x03\0\x02\x02\x28")

    assert [one[:2] for one in told(tmp_path, line)] == [("handshake", "handshake_failure from the server")]


def test_a_reply_without_a_question_is_no_exchange(tmp_path: Path) -> None:
    """Messages of a Redis subscription are pushed."""
    line = Line(server=("10.0.0.2", 6379))
    line.ask(b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n")
    line.answer(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
    line.answer(b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$6\r\nbovine\r\n")

    assert told(tmp_path, line) == []
    assert b"bovine" not in (tmp_path / "made.pcap").read_bytes()
