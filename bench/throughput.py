"""Requests a second of the demo's shop under gunicorn, and the CPU that a request costs."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from measure import (
    DIAG,
    HERE,
    PATIENCE_S,
    PROGRAMS,
    Table,
    at_least,
    by_chance,
    cpu_s,
    descendants,
    median,
    rest,
    scratch,
    spread,
    started,
    wait_for,
)

IN_FLIGHT = 4
VARIANTS = ("bare", "bare, again", "diag run", "sentry-sdk")
BUDGET = 0.99


@dataclass
class Server:
    """A shop that answers, with what its rounds brought: requests a second, and CPU ms for 1,000 requests."""

    port: int
    tree: list[int]
    beside: list[int]
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)


def measure(*, quick: bool) -> list[Table]:
    """Ratios from rounds in turns. Servers are started several times: each start is a little faster or slower."""
    lives, rounds, requests = (2, 20, 150) if quick else (8, 20, 150)
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    totals: dict[str, Server] = {name: Server(0, [], []) for name in VARIANTS}
    for _ in range(lives):
        servers = _one_life(rounds, requests)
        for name in VARIANTS:
            server = servers[name]
            totals[name].rates += server.rates
            totals[name].cpu_ms += server.cpu_ms
            totals[name].beside_ms += server.beside_ms
    rates, cpu_ms = _both_bare(totals)
    for name, server in totals.items():
        ratios[name] = [
            (rate / bare_rate, bare_cpu / cpu)
            for rate, bare_rate, cpu, bare_cpu in zip(server.rates, rates, server.cpu_ms, cpu_ms, strict=True)
        ]
    return [_table(totals, ratios, lives, rounds, requests)]


def _both_bare(totals: dict[str, Server]) -> tuple[list[float], list[float]]:
    """Rates and CPU of each round, the mean of the two bare servers: half of their noise."""
    one, other = totals["bare"], totals["bare, again"]
    rates = [(a + b) / 2 for a, b in zip(one.rates, other.rates, strict=True)]
    return rates, [(a + b) / 2 for a, b in zip(one.cpu_ms, other.cpu_ms, strict=True)]


def _one_life(rounds: int, requests: int) -> dict[str, Server]:
    with ExitStack() as stack:
        starting = {name: _start(name, stack) for name in by_chance(VARIANTS)}
        servers = {name: _when_it_answers(name, *starting[name]) for name in VARIANTS}
        for server in servers.values():
            load(server.port, 200)
        for _ in range(rounds):
            for name in by_chance(VARIANTS):
                _round(servers[name], requests)
        return servers


def _start(name: str, stack: ExitStack) -> tuple[subprocess.Popen[bytes], int]:
    environment = stack.enter_context(scratch())
    port = free_port()
    app = "sentry_shop:app" if name == "sentry-sdk" else "shop:app"
    paths = f"{HERE.parent / 'demo'},{PROGRAMS}"
    command = [sys.executable, "-m", "gunicorn", "--pythonpath", paths, "--workers", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "error", app]
    if name == "diag run":
        command = [*DIAG, "run", "--name", "shop", "--", *command]
    return stack.enter_context(started(command, environment)), port


def _when_it_answers(name: str, process: subprocess.Popen[bytes], port: int) -> Server:
    wait_for(lambda: process.poll() is not None or answers(port), f"gunicorn ({name}) to answer")
    rest(process.pid, quiet_s=0.3)
    tree = descendants(process.pid)
    gunicorn = [pid for pid in tree if _is_gunicorn(pid)]
    return Server(port, gunicorn, [pid for pid in tree if pid not in gunicorn])


def _is_gunicorn(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"gunicorn" in words and b"diag" not in words


def _round(server: Server, requests: int) -> None:
    cpu, beside = cpu_s(server.tree), cpu_s(server.beside)
    began = time.perf_counter()
    load(server.port, requests)
    took = time.perf_counter() - began
    server.rates.append(requests / took)
    server.cpu_ms.append((cpu_s(server.tree) - cpu) * 1e6 / requests)
    server.beside_ms.append((cpu_s(server.beside) - beside) * 1e6 / requests)


def load(port: int, requests: int) -> None:
    """Send so many requests, IN_FLIGHT of them at a time, each over a connection of its own, as sync workers want it.

    One thread and epoll, because the client shares the cores with the server.
    """
    with select.epoll() as poll, ExitStack() as stack:
        waiting = {}
        for _ in range(min(IN_FLIGHT, requests)):
            connection = stack.enter_context(_ask(port, poll))
            waiting[connection.fileno()] = connection
        sent = len(waiting)
        while waiting:
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise SystemExit(f"The shop has not answered for {PATIENCE_S:.0f} s.")
            for number, _ in ready:
                with waiting.pop(number) as connection:
                    _read_answer(connection)
                if sent < requests:
                    connection = stack.enter_context(_ask(port, poll))
                    waiting[connection.fileno()] = connection
                    sent += 1


def _ask(port: int, poll: select.epoll) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.sendall(_request())
    poll.register(connection, select.EPOLLIN)
    return connection


def _read_answer(connection: socket.socket) -> None:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"The shop answered {answer[:200]!r}.")


def _request() -> bytes:
    head = (
        "GET /checkout/tea?count=2 HTTP/1.1\r\nHost: shop\r\nX-Request-ID: req-{}\r\ntraceparent: 00-{}-{}-01\r\n\r\n"
    )
    return head.format(secrets.token_hex(8), secrets.token_hex(16), secrets.token_hex(8)).encode()


def answers(port: int) -> bool:
    """Whether anybody listens there and answers."""
    with contextlib.suppress(OSError, SystemExit):
        load(port, 1)
        return True
    return False


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _table(
    totals: dict[str, Server], ratios: dict[str, list[tuple[float, float]]], lives: int, rounds: int, requests: int
) -> Table:
    rows = []
    for name, server in totals.items():
        speed, cpu = (median(pair[i] for pair in ratios[name]) for i in (0, 1))
        noise = spread([pair[1] for pair in ratios[name]])
        verdict = at_least(cpu, BUDGET) if name == "diag run" else ""
        rows.append(
            (
                name,
                f"{median(server.rates):.0f}",
                f"{speed:.3f}",
                f"{median(server.cpu_ms):.0f}",
                f"{cpu:.3f}",
                f"±{noise:.3f}",
                f"{median(server.beside_ms):.2f}" if server.beside_ms and name == "diag run" else "",
                verdict,
            )
        )
    return Table(
        "Throughput: the demo's shop under gunicorn (2 sync workers); requests carry X-Request-ID and traceparent",
        ("", "requests/s", "ratio", "CPU ms/1000", "ratio", "spread", "agent's CPU", "budget"),
        rows,
        [
            f"Medians of {lives * rounds} rounds of {requests} requests in turns, {lives} starts of each server. A",
            "ratio is the median of each round's own, to the mean of both bare servers; their own are the noise.",
            f"The CPU of gunicorn's processes decides, because the {os.cpu_count()} cores carry the client too.",
        ],
    )
