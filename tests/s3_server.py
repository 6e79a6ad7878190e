"""A real S3 server for tests, which checks signatures and rights; and what stands between it and us."""

from __future__ import annotations

import http.client
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import requests
from machine import TIMEOUT_S

REGION = "eu-central-1"
_SAYS = re.compile(rb"Running on (http://127\.0\.0\.1:\d+)")
_RIGHTS = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%s,"Resource":"*"}]}'


@dataclass(frozen=True, slots=True)
class Keys:
    """A user's access key."""

    access: str
    secret: str

    def environ(self) -> dict[str, str]:
        """The variables by which SDKs know it; no other source of keys is asked."""
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@dataclass(frozen=True, slots=True)
class S3:
    """A server at `url` and somebody who may do everything there."""

    url: str
    keys: Keys

    def client(self, service: str = "s3", keys: Keys | None = None) -> Any:
        """A client of the SDK's own, to look behind the store."""
        import botocore.session

        keys = keys or self.keys
        return botocore.session.Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
        )

    def bucket(self, name: str) -> str:
        """Make a bucket; returns its name."""
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def store_url(self, bucket: str, prefix: str = "", endpoint: str = "") -> str:
        """The store's URL of a bucket here, or of the same bucket as seen through another endpoint."""
        return f"s3://{bucket}/{quote(prefix)}?endpoint={endpoint or self.url}&region={REGION}"

    def user(self, name: str, actions: str) -> Keys:
        """A user who may do only this: a JSON list of actions, or one action."""
        return _user(self.client("iam"), name, actions)


@contextmanager
def serving_s3() -> Iterator[S3]:
    """`moto_server` as a process of its own. It checks signatures and rights once there is a user."""
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        address: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stderr, address))
        reader.start()
        try:
            url = address.get(timeout=TIMEOUT_S)
            keys = _user(S3(url, Keys("first", "first")).client("iam"), "root", '"*"')
            # From now on every request needs a right signature.
            requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=TIMEOUT_S).raise_for_status()
            yield S3(url, keys)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT_S)
            reader.join(TIMEOUT_S)


def _read(source: Any, address: queue.Queue[str]) -> None:
    """Say where it listens, and keep its log from filling the pipe."""
    for line in source:
        if found := _SAYS.search(line):
            address.put(found[1].decode())


def _user(iam: Any, name: str, actions: str) -> Keys:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=_RIGHTS % actions)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Keys(key["AccessKeyId"], key["SecretAccessKey"])


@dataclass(slots=True)
class Asked:
    """A request as it comes by."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def part(self) -> int:
        """The number of the part that it delivers; 0 where it delivers none."""
        found = re.search(r"[?&]partNumber=(\d+)", self.path) if self.method == "PUT" else None
        return int(found[1]) if found else 0


@dataclass(slots=True)
class Reply:
    """An answer. `hang_up` loses it on its way, `cut` ends the connection behind the body."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hang_up: bool = False
    cut: bool = False


def error(status: int, code: str, more: str = "", **headers: str) -> Reply:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Just so.</Message>{more}</Error>"
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, body.encode(), (("Content-Type", "application/xml"), *named))


@dataclass(slots=True)
class Between:
    """Something at `url` that S3 is spoken to through: it keeps what was asked, and answers what `rule` says.

    `rule` gets the request and a function that asks the real server; None from it is that server's answer.
    """

    url: str
    asked: list[Asked]
    rule: Callable[[Asked, Callable[[], Reply]], Reply | None]

    def parts(self) -> list[int]:
        """The numbers of the parts that came by."""
        return [one.part for one in self.asked if one.part]


@contextmanager
def between(target: str, rule: Callable[[Asked, Callable[[], Reply]], Reply | None] | None = None) -> Iterator[Between]:
    """A proxy before the server at `target`, which passes everything on unless its rule says otherwise."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            proxy.asked.append(asked)

            def forward() -> Reply:
                return _forward(target, asked)

            reply = proxy.rule(asked, forward) or forward()
            if reply.hang_up:
                self.close_connection = True
                return
            self._send(reply)
            self.close_connection = self.close_connection or reply.cut

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        def _send(self, reply: Reply) -> None:
            with suppress(ConnectionError):  # a killed client
                self.send_response_only(reply.status)
                names = {name.lower() for name, _ in reply.headers}
                for name, value in reply.headers:
                    self.send_header(name, value)
                if "content-length" not in names:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else reply.body)

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Between(f"http://127.0.0.1:{server.server_port}", [], rule or (lambda asked, forward: None))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join(TIMEOUT_S)
        server.server_close()


def _forward(target: str, asked: Asked) -> Reply:
    connection = http.client.HTTPConnection(target.removeprefix("http://"), timeout=TIMEOUT_S)
    try:
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in ("expect", "connection")}
        connection.request(asked.method, asked.path, asked.body, headers)
        answer = connection.getresponse()
        skipped = ("transfer-encoding", "connection")
        kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in skipped)
        return Reply(answer.status, answer.read(), kept)
    finally:
        connection.close()
