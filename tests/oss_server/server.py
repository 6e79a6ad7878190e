"""The HTTP side: requests are checked, routed to the operation that they mean, and answered as OSS answers."""

from __future__ import annotations

import base64
import email.utils
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from oss_server import operations
from oss_server.messages import Asked, Reply
from oss_server.problem import Problem
from oss_server.signing import Key, authenticate
from oss_server.storage import Bucket

__all__ = ["Asked", "Key", "OssServer", "Reply", "running"]

CHUNK = 256 * 1024
_ADDRESS = re.compile(r"localhost|[0-9.]+|\[.*\]")


class OssServer(ThreadingHTTPServer):
    """Buckets over HTTP. `before` may answer in place of the server, `after` may change what it says."""

    daemon_threads = True

    def __init__(self, folder: Path, keys: dict[str, Key], *, region: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder, self.access_keys, self.region = folder, keys, region
        self.buckets = {path.name: Bucket(path) for path in folder.iterdir()} if folder.is_dir() else {}
        self.elsewhere: dict[str, str] = {}  # bucket -> endpoint of the region where it really is
        self.asked: list[Asked] = []
        self.before: Callable[[Asked], Reply | None] = lambda asked: None
        self.after: Callable[[Asked, Reply], Reply] = lambda asked, reply: reply
        self.now: Callable[[], float] = time.time

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.server_port}"

    def make_bucket(self, name: str) -> Bucket:
        """The bucket with this name, new or not."""
        return self.buckets.setdefault(name, Bucket(self.folder / name))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of the server's."""

    def answer(self, asked: Asked) -> Reply:
        """Do what is asked. Raises Problem."""
        key = authenticate(asked, self.access_keys, self.region, self.now())
        if asked.bucket in self.elsewhere:
            message = "The bucket you are attempting to access must be addressed using the specified endpoint."
            more = {"Bucket": asked.bucket, "Endpoint": self.elsewhere[asked.bucket], "EC": "0003-00001403"}
            raise Problem(403, "AccessDenied", message, more)
        bucket = self.buckets.get(asked.bucket)
        if bucket is None:
            message = "The specified bucket does not exist."
            raise Problem(404, "NoSuchBucket", message, {"BucketName": asked.bucket, "EC": "0015-00000101"})
        action, operation = operations.find(asked)
        if action in key.lacks:
            raise Problem(403, "AccessDenied", "You have no right to access this object.", {"EC": "0003-00000001"})
        return operation(self, bucket, asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: OssServer
    wbufsize = 64 * 1024

    def do_GET(self) -> None:
        asked = self._read()
        self.server.asked.append(asked)
        request_id = secrets.token_hex(12).upper()
        try:
            reply = self.server.before(asked) or self.server.after(asked, self.server.answer(asked))
        except Problem as problem:
            reply = self._refuse(problem, request_id)
        if not self._drain(asked) or reply.hang_up:
            self.close_connection = True
            return
        self._send(reply, request_id)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate(self.server.now() if timestamp is None else timestamp, usegmt=True)

    def log_message(self, *args: object) -> None:
        return

    def _read(self) -> Asked:
        # A proxy's request line has the whole URL.
        parts = urlsplit(self.path) if self.path.startswith("http") else None
        path, _, query = (f"{parts.path}?{parts.query}" if parts else self.path).partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = (parts.netloc if parts else headers.get("host", "")).partition(":")[0]
        if _ADDRESS.fullmatch(host):
            bucket, _, key = path.lstrip("/").partition("/")
        else:
            bucket, key = host.partition(".")[0], path.removeprefix("/")
        said = dict(parse_qsl(query, keep_blank_values=True))
        return Asked(self.command, unquote(bucket), unquote(key), said, headers, self._body())

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            while left := int(self.rfile.readline().split(b";")[0], 16):
                yield self._exactly(left)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            chunk = self._exactly(min(CHUNK, left))
            left -= len(chunk)
            yield chunk

    def _exactly(self, size: int) -> bytes:
        chunk = self.rfile.read(size)
        if len(chunk) != size:
            raise ConnectionAbortedError("the body broke off")
        return chunk

    def _drain(self, asked: Asked) -> bool:
        try:
            for _ in asked.body:
                pass
        except (ConnectionError, ValueError):
            return False
        return True

    def _refuse(self, problem: Problem, request_id: str) -> Reply:
        document = problem.xml(request_id, self.headers.get("Host", ""))
        headers = {"Content-Type": "application/xml", **problem.headers}
        if self.command == "HEAD":
            headers["x-oss-err"] = base64.b64encode(document).decode()
        return Reply(problem.status, document, headers)

    def _send(self, reply: Reply, request_id: str) -> None:
        size = reply.file[2] if reply.file else len(reply.body)
        own = {} if reply.plain else {"Server": "AliyunOSS", "x-oss-request-id": request_id}
        headers = {**own, "Date": self.date_time_string(), "Content-Length": str(size), **reply.headers}
        self.send_response_only(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.file is None:
            self.wfile.write(reply.body)
            return
        path, start, left = reply.file
        with path.open("rb") as file:
            file.seek(start)
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                self.wfile.write(chunk)
                left -= len(chunk)


@contextmanager
def running(folder: Path, keys: dict[str, Key], *, region: str = "cn-hangzhou", port: int = 0) -> Iterator[OssServer]:
    """A server until the context ends; what it has stays in the folder."""
    server = OssServer(folder, keys, region=region, port=port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
