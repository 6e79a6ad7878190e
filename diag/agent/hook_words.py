"""What a hook is told and what it answers: one HTTP request."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from diag.agent.flushing import DEADLINE_S, Flusher
from diag.agent.hooks import HEALTH, PRE_FREEZE, PRE_STOP

CALLER_S = 10.0  # how long a caller may take to say what it wants
LONGEST_S = 600.0
LONGEST_BODY = 1 << 16


@dataclass(slots=True)
class _Call:
    """Stands where the handler expects its server."""

    flusher: Flusher
    trusted: bool
    stops: bool = False


def answer(caller: socket.socket, flusher: Flusher, *, stop: Callable[[], None] | None, trusted: bool) -> None:
    """Read the request, do what it says, and answer. Raises OSError where the caller is gone."""
    call = _Call(flusher, trusted)
    _Handler(caller, ("", 0), cast(BaseServer, call))
    if call.stops and stop is not None:
        stop()


class _Handler(BaseHTTPRequestHandler):
    timeout = CALLER_S
    server_version = "diag"
    sys_version = ""

    @property
    def call(self) -> _Call:
        """What this request may do."""
        return cast(_Call, self.server)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == HEALTH:
            self._tell(self.call.flusher.look().to_json(), HTTPStatus.OK)
        elif path in (PRE_FREEZE, PRE_STOP):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} changes something: POST it.")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"There are {PRE_FREEZE}, {PRE_STOP} and {HEALTH}.")

    def do_POST(self) -> None:
        path, query = urlsplit(self.path)[2:4]
        self.rfile.read(min(_number(self.headers.get("Content-Length", "0")) or 0, LONGEST_BODY))
        deadline_s = _seconds(parse_qs(query).get("deadline_s", [str(DEADLINE_S)])[-1])
        if path not in (PRE_FREEZE, PRE_STOP):
            self._refuse(HTTPStatus.NOT_FOUND, f"There are {PRE_FREEZE}, {PRE_STOP} and {HEALTH}.")
        elif self._from_a_page():
            self._refuse(HTTPStatus.FORBIDDEN, "Pages of a browser may not call hooks.")
        elif path == PRE_STOP and not self.call.trusted:
            self._refuse(HTTPStatus.FORBIDDEN, "Only root and the agent's own user may stop it.")
        elif deadline_s is None:
            self._refuse(HTTPStatus.BAD_REQUEST, f"deadline_s is a number of seconds up to {LONGEST_S:.0f}.")
        else:
            flushed = self.call.flusher.flush(deadline_s)
            status = HTTPStatus.ACCEPTED if flushed.account.pending else HTTPStatus.OK
            self._tell(flushed.to_json(), status if flushed.durable else HTTPStatus.SERVICE_UNAVAILABLE)
            self.call.stops = path == PRE_STOP

    def _from_a_page(self) -> bool:
        """Any page in a browser on this machine can post to the loopback; browsers say from where."""
        return any(name in self.headers for name in ("Origin", "Sec-Fetch-Site"))

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._tell({"error": sentence}, status)

    def _tell(self, said: dict[str, Any], status: HTTPStatus) -> None:
        content = json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: the agent's stderr is for what concerns instances."""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= LONGEST_S else None
