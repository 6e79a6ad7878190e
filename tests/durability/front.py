"""What stands between the uploader and the real store and misbehaves: a proxy with a script of faults.

It is a process of its own, led through a pair of sockets by the campaign, which must not have threads.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from durability import vanish

LIMIT_S = 60.0
XML = "application/xml"
PAGE = b"<!doctype html><title>Welcome</title><p>Please log in to use this network.</p>"


@dataclass(frozen=True, slots=True)
class Fault:
    """From the `at`-th request on, `times` times: what is done to it. Counted over all requests, from 1.

    Kinds: `status` (answered with it, the store knows nothing), `late-status` (the store has done it, and the answer
    is this), `lost` (done, no answer), `refused` (reset before anything), `cut-request` (reset in mid-body, the store
    gets half), `cut-answer`, `short-answer` (ends early without a reset), `etag` (wrong), `page` (HTML with 200,
    nothing done), `late-page`, `slow`, `vanish` (before an upload in parts is completed, its parts are gone).
    """

    kind: str
    at: int
    times: int = 1
    status: int = 0
    xml: bool = True
    retry_after: str = ""


class Front:
    """The campaign's side: where the proxy listens, and what it does next."""

    def __init__(self) -> None:
        mine, its = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            mine.close()
            _serve(its)
        its.close()
        self._lines = mine.makefile("rw")
        self._control = mine
        self.port = int(json.loads(self._lines.readline())["port"])

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.port}"

    def play(self, target: str, faults: list[Fault], variables: Mapping[str, str] | None = None) -> None:
        """Stand before this server from now on, and do this to what is asked of it."""
        script = {"target": target.removeprefix("http://"), "faults": [asdict(one) for one in faults]}
        self._ask({**script, "variables": dict(variables or {})})

    def asked(self) -> list[dict[str, Any]]:
        """Each request since the script began: method, path, and the fault that it met."""
        found: list[dict[str, Any]] = self._ask({"asked": True})["asked"]
        return found

    def close(self) -> None:
        """End the process."""
        self._lines.close()
        self._control.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _ask(self, line: Mapping[str, Any]) -> dict[str, Any]:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer


class _Script:
    """The faults that are left, and what came by."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.target = str(said.get("target", ""))
        self.variables = dict(said.get("variables", {}))
        self.asked: list[dict[str, Any]] = []
        self._faults = [Fault(**one) for one in said.get("faults", ())]
        self._lock = threading.Lock()

    def meet(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            number = len(self.asked) + 1
            found = next((one for one in self._faults if one.at <= number < one.at + one.times), None)
            if found and found.kind == "vanish" and not vanish.completes(method, path):
                found = None
            self.asked.append({"method": method, "path": path, "fault": found.kind if found else None})
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script = _Script({})

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or was cut off, is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = LIMIT_S

    def do_GET(self) -> None:
        script = self.server.script
        fault = script.meet(self.command, self.path)
        kind = fault.kind if fault else ""
        length = int(self.headers.get("Content-Length") or 0)
        if kind == "refused":
            self._reset()
        elif kind == "cut-request":
            self._send_half(script.target, self.rfile.read(length // 2), length)
            self._reset()
        else:
            self._pass_on(script, fault, self._read(length, slow=kind == "slow"))

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def _pass_on(self, script: _Script, fault: Fault | None, body: bytes) -> None:
        kind = fault.kind if fault else ""
        if kind == "vanish":
            vanish.parts(self.path, f"http://{script.target}", script.variables)
        if kind in ("status", "page"):
            self._answer(*_spoken(fault, self.command))
            return
        status, headers, content = self._forward(script.target, body)
        if kind in ("late-status", "late-page"):
            self._answer(*_spoken(fault, self.command))
        elif kind == "lost":
            self._reset()
        elif kind in ("cut-answer", "short-answer"):
            self._answer(status, headers, content[: len(content) // 2], of=max(1, len(content)))
            self._reset() if kind == "cut-answer" else self._hang_up()
        elif kind == "etag":
            self._answer(status, _other_sums(headers), content)
        else:
            self._answer(status, headers, content, slow=kind == "slow")

    def _read(self, length: int, *, slow: bool) -> bytes:
        if not slow or length > 64 * 1024:
            return self.rfile.read(length)
        body = b""
        while len(body) < length:
            body += self.rfile.read(min(-(-length // 5), length - len(body)))
            time.sleep(0.005)
        return body

    def _forward(self, target: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(target, timeout=LIMIT_S)
        try:
            # The Host header goes through as it is: it is signed.
            connection.request(self.command, self.path, body, _passing(self.headers))
            answer = connection.getresponse()
            length = answer.getheader("Content-Length")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if self.command == "HEAD" and length is not None:
                headers.append(("Content-Length", length))
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _send_half(self, target: str, body: bytes, length: int) -> None:
        """The store gets what has come so far, and then loses the sender."""
        host, _, port = target.partition(":")
        lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in _passing(self.headers).items())]
        if "content-length" not in {name.lower() for name in self.headers}:
            lines.append(f"Content-Length: {length}")
        with suppress(OSError), socket.create_connection((host, int(port)), LIMIT_S) as store:
            store.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        of: int | None = None,
        slow: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _ in headers} and status not in (204, 304):
            self.send_header("Content-Length", str(len(content) if of is None else of))
        self.end_headers()
        if self.command == "HEAD":
            return
        pieces = [content] if not slow else [content[at : at + 64] for at in range(0, len(content), 64)][:40]
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(0.002 if slow else 0)
        if slow:
            self.wfile.write(content[64 * 40 :])

    def _reset(self) -> None:
        """The connection breaks with RST, as when the other machine is gone."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
        self.connection.close()

    def log_message(self, *args: object) -> None:
        return


_HOP = ("transfer-encoding", "connection", "content-length")


def _passing(headers: Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in ("expect", "connection")}


def _spoken(fault: Fault | None, method: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """What a server, a load balancer or a captive portal says in place of the store."""
    assert fault is not None
    if fault.kind.endswith("page"):
        return 200, [("Content-Type", "text/html")], PAGE
    headers = [("Retry-After", fault.retry_after)] if fault.retry_after else []
    if not fault.xml:
        return fault.status, headers, b""
    code = _CODES.get(fault.status, "InternalError")
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Just so.</Message></Error>".encode()
    return fault.status, [*headers, ("Content-Type", XML)], body


_CODES = {
    403: "AccessDenied",
    404: "NoSuchBucket",
    408: "RequestTimeout",
    409: "OperationAborted",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}


def _other_sums(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same answer, with the checksums of other bytes."""
    wrong = {"etag": f'"{"0123456789abcdef" * 2}"', "x-oss-hash-crc64ecma": "1234567890123456789"}
    return [(name, wrong.get(name.lower(), value)) for name, value in headers]


def _serve(control: socket.socket) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with _Server(("127.0.0.1", 0), _Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            lines = control.makefile("rw")
            lines.write(json.dumps({"port": server.server_port}) + "\n")
            lines.flush()
            for line in lines:
                said = json.loads(line)
                if "asked" not in said:
                    server.script = _Script(said)
                lines.write(json.dumps({"asked": server.script.asked}) + "\n")
                lines.flush()
    finally:
        os._exit(0)
