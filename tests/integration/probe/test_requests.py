"""Requests of real servers stand in the black box while they run, with no change to the application."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boxes import Box
from machine import PROGRAMS, TIMEOUT_S
from probed import line_of
from standin import StandIn

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"X-Request-Id": "order-4711", "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
# A worker that is just being forked does not hear that it is to end: its master waits that long, by itself 30 s.
GUNICORN = ["-m", "gunicorn", "--workers", "1", "--graceful-timeout", "3", "--no-control-socket", "--bind", "fd://{fd}"]
UVICORN = ["-m", "uvicorn", "--fd", "{fd}", "--log-level", "error"]
SERVERS = {
    "gunicorn sync, bare WSGI": [*GUNICORN, "web_wsgi:application"],
    "gunicorn gthread, Flask": [*GUNICORN, "--threads", "2", "web_flask:application"],
    "gunicorn sync, Django": [*GUNICORN, "web_django:application"],
    "gunicorn asgi, bare ASGI": [*GUNICORN, "-k", "asgi", "web_asgi:application"],
    "gunicorn uvicorn worker, FastAPI": [*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "web_fastapi:application"],
    "uvicorn, bare ASGI": [*UVICORN, "web_asgi:application"],
    "uvicorn, FastAPI": [*UVICORN, "web_fastapi:application"],
    "wsgiref, bare WSGI": ["web_wsgi.py"],
    "werkzeug, Flask": ["web_flask.py"],
    "runserver, Django": ["web_django.py"],
}


@dataclass
class Server:
    """A probed server; `hold` is the FIFO that its held requests wait for."""

    agent: StandIn
    port: int
    hold: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())

    def box(self) -> Box:
        """The box of the process that serves: the one linked last."""
        self.agent.catch_up()
        return self.agent.box(self.agent.connections[-1])

    def during(self, path: str, headers: dict[str, str], look: Callable[[], Any]) -> tuple[Any, tuple[int, bytes]]:
        """What `look` sees while the request is held, and the answer that comes afterwards."""
        answers: list[tuple[int, bytes]] = []
        client = threading.Thread(target=lambda: answers.append(self.get(path, headers)[:2]))
        client.start()
        with self.hold.open("w") as fifo:
            seen = look()
            fifo.write("held")
        client.join(TIMEOUT_S)
        return seen, answers[0]

    def finished(self, count: int) -> list[tuple[Any, ...]]:
        """The finished requests, once there are this many."""
        self.agent.wait_for(lambda: len(self.box().finished) >= count and not self.box().in_flight)
        return self.box().finished


@pytest.fixture
def serve(agent: StandIn, home: Path) -> Iterator[Callable[..., Server]]:
    """Starts probed servers; stopped and reaped after the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(arguments: list[str], **variables: str) -> Server:
        hold = home / "hold"
        os.mkfifo(hold)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        filled = [argument.replace("{fd}", str(listener.fileno())) for argument in arguments]
        with (home / "stderr").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *filled],
                cwd=PROGRAMS,
                env=agent.environment(PYTHONPATH=str(PROGRAMS), HOLD=str(hold), **variables),
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[listener.fileno()],
            )
        listener.close()
        processes.append(process)
        if filled[0] != "-m":
            assert process.stdout is not None
            port = int(process.stdout.readline())
        return Server(agent, port, hold, process)

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@pytest.mark.parametrize("name", SERVERS)
def test_request_is_seen_from_start_to_end(name: str, serve: Callable[..., Server]) -> None:
    """In flight with its ids, method, path and thread while it runs; finished with status and duration."""
    server = serve(SERVERS[name])

    seen, answer = server.during("/hold?secret=1", HEADERS, lambda: server.box().in_flight)

    ((request_id, trace_id, span_id, method, path, started, tid),) = seen
    assert (request_id, trace_id, span_id) == ("order-4711", TRACE_ID, SPAN_ID)
    assert (method, path) == ("GET", "/hold")
    assert started > 1.7e9 and tid > 0
    assert answer[0] == 200 and b"held" in answer[1]
    (record,) = server.finished(1)
    assert record[:3] == ("order-4711", TRACE_ID, SPAN_ID)
    assert record[7] > 0 and record[8] == 200


@pytest.mark.parametrize("name", SERVERS)
def test_exception_in_a_request(name: str, serve: Callable[..., Server], home: Path) -> None:
    """An exception that becomes a 500 is one event with the request's ids; a 404 is none; no log names us."""
    server = serve(SERVERS[name])

    assert server.get("/missing")[0] == 404
    assert server.get("/fail", HEADERS)[0] == 500

    server.finished(2)
    (event,) = server.box().events
    assert event["kind"] == "request"
    assert event["request"] == ("order-4711", TRACE_ID, SPAN_ID)
    assert event["exception"]["message"] == "no good"
    own = [frame for frame in event["exception"]["frames"] if "/programs/web_" in frame[1]]
    assert own[0][2] == line_of(Path(own[0][1]).name, "raise")
    assert not [frame for frame in event["exception"]["frames"] if "diag_probe" in frame[1]]
    assert "diag_probe" not in (home / "stderr").read_text()


@pytest.mark.parametrize("server_name", ["gunicorn sync, bare WSGI", "wsgiref, bare WSGI"])
def test_wsgi_bodies(server_name: str, serve: Callable[..., Server], home: Path) -> None:
    """A list keeps its Content-Length, a file its sendfile, a stream is in flight to its end and closed once."""
    server = serve(SERVERS[server_name])

    assert server.get("/")[2].get("Content-Length") == ("5" if "wsgiref" in server_name else None)
    assert server.get("/file")[1] == (PROGRAMS / "web_wsgi.py").read_bytes()
    seen, answer = server.during("/stream", HEADERS, lambda: server.box().in_flight)
    assert [record[4] for record in seen] == ["/stream"]
    assert answer == (200, b"one held")
    assert [record[4] for record in server.finished(3)] == ["/", "/file", "/stream"]
    assert (home / "stderr").read_text().count("closed\n") == 1


@pytest.mark.parametrize("server_name", ["gunicorn sync, bare WSGI", "wsgiref, bare WSGI"])
def test_exception_in_a_body(server_name: str, serve: Callable[..., Server]) -> None:
    """What a stream raises half-way is an event of its request."""
    server = serve(SERVERS[server_name])

    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.get("/late", HEADERS)
        raise http.client.IncompleteRead(b"")  # where the server closes without a length, the client cannot tell

    server.finished(1)
    (event,) = server.box().events
    assert (event["kind"], event["request"][0]) == ("request", "order-4711")
    assert event["exception"]["frames"][0][2] == line_of("web_wsgi.py", "late")


@pytest.mark.parametrize(
    ("headers", "ids"),
    [
        ({}, (None, None, None)),
        ({"X-Correlation-Id": "c"}, ("c", None, None)),
        ({"X-Fc-Request-Id": "f"}, ("f", None, None)),
        ({"x-amzn-requestid": "a"}, ("a", None, None)),
        ({"X-Request-Id": "r", "X-Correlation-Id": "c"}, ("r", None, None)),
        ({"X-Request-Id": "i" * 500}, ("i" * 128, None, None)),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, (None, None, None)),
        ({"traceparent": "garbage"}, (None, None, None)),
    ],
)
def test_ids_from_headers(headers: dict[str, str], ids: tuple[str | None, ...], serve: Callable[..., Server]) -> None:
    """The request id comes from the first header that has one; a traceparent counts only where it is valid."""
    server = serve(SERVERS["wsgiref, bare WSGI"])

    server.get("/" + "%C3%A9" * 300, headers)

    (record,) = server.finished(1)
    assert record[:3] == ids
    assert record[4].startswith("/ééé") and len(record[4].encode()) <= 130


def test_span_of_the_application(serve: Callable[..., Server]) -> None:
    """With OpenTelemetry in the application the request names its current span, and in the end its outermost."""
    server = serve([*GUNICORN, "web_traced:application"])

    seen, answer = server.during("/", HEADERS, lambda: server.box().in_flight)

    outer, inner = [line.split() for line in answer[1].decode().splitlines()]
    assert list(seen[0][1:3]) == inner
    assert list(server.finished(1)[0][:3]) == ["order-4711", *outer]


def test_worker_killed_with_a_request(serve: Callable[..., Server]) -> None:
    """After SIGKILL the box still says which request was in flight."""
    server = serve(SERVERS["gunicorn sync, bare WSGI"])

    def kill() -> list[tuple[Any, ...]]:
        server.agent.catch_up()  # the worker's link was made, and may wait to be accepted
        worker = server.agent.connections[-1]
        os.kill(worker.pid, 9)
        server.agent.wait_for(lambda: worker.closed)
        return server.agent.box(worker).in_flight

    client = threading.Thread(target=lambda: _ignore_failure(server))
    client.start()
    with server.hold.open("w"):
        (record,) = kill()
    client.join(TIMEOUT_S)
    assert record[0] == "order-4711"


def _ignore_failure(server: Server) -> None:
    try:
        server.get("/hold", HEADERS)
    except (OSError, http.client.HTTPException):
        return


def test_agent_dies_under_a_server(serve: Callable[..., Server]) -> None:
    """With the agent gone requests are served as before."""
    server = serve(SERVERS["gunicorn sync, bare WSGI"])
    assert server.get("/")[0] == 200

    server.agent.close()

    assert server.get("/")[0] == 200
    assert server.get("/fail")[0] == 500


def test_worker_that_cannot_load_the_application(serve: Callable[..., Server]) -> None:
    """The exception that keeps a worker from starting is its last record, although gunicorn catches it."""
    server = serve([*GUNICORN, "web_broken:application"])

    server.process.wait(TIMEOUT_S)

    server.agent.settle()
    fatal = server.box().fatal
    assert fatal is not None
    assert fatal["exception"]["frames"][0][:3] == (
        "load",
        str(PROGRAMS / "web_broken.py"),
        line_of("web_broken.py", "raise"),
    )
