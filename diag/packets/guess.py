"""Which protocol a conversation speaks, by what is said first and not by its port alone."""

from __future__ import annotations

from collections.abc import Callable

from diag.packets.decoders import http1, kafka, mysql, postgres
from diag.packets.decoders.dns import Dns
from diag.packets.decoders.http1 import Http1
from diag.packets.decoders.kafka import Kafka
from diag.packets.decoders.mysql import MySql
from diag.packets.decoders.postgres import Postgres
from diag.packets.decoders.redis import Redis
from diag.packets.decoders.tls import Tls
from diag.packets.exchange import Messages, Talk

DNS_PORT = 53


def _is_postgres(data: bytes, port: int) -> bool:
    size, code = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    opening = 8 <= size <= 10_000 and code in (postgres.SSL_REQUEST, postgres.GSS_REQUEST, postgres.VERSION_3)
    return opening or (port == 5432 and len(data) >= 5 and data[:1] in (b"Q", b"P", b"B") and data[1:2] == b"\0")


def _is_mysql(data: bytes, port: int) -> bool:
    if port not in (3306, 33060) or len(data) < 5:
        return False
    return int.from_bytes(data[:3], "little") >= len(data) - 4 and data[3] == 0 and data[4] in mysql.COMMANDS


# What a client says first -> decoder, in the order of how sure the sign is.
FROM_CLIENT: tuple[tuple[Callable[[bytes, int], bool], type[Messages]], ...] = (
    (lambda data, _: data.startswith(http1.METHODS), Http1),
    (lambda data, _: data[:2] == b"\x16\x03" and data[5:6] == b"\x01", Tls),
    (lambda data, _: data[:1] == b"*" and data[1:2].isdigit() and b"\r\n$" in data[:12], Redis),
    (_is_postgres, Postgres),
    (_is_mysql, MySql),
    (lambda _, port: port == DNS_PORT, Dns),
    (lambda data, _: kafka.looks_like(data), Kafka),
)


def decoder_of(from_client: bool, data: bytes, port: int, talk: Talk) -> Messages | None:
    """The decoder for what begins with these bytes; None where nothing is known to begin so."""
    if from_client:
        return next((made(talk) for fits, made in FROM_CLIENT if fits(data, port)), None)
    return MySql(talk) if mysql.is_greeting(data) else None
