"""A bucket of S3 and one of OSS, seen alike: what was asked by presigned URLs, and what answers them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import oss_server
import s3_server
from oss_server import OssServer
from s3_gate import gated, is_presigned
from s3_server import S3

KMS = '"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class Seen:
    """A request with a presigned URL. Header names are in lower case."""

    method: str
    key: str
    query: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket behind `store_url`, and the variables with its keys."""

    store_url: str
    environ: dict[str, str]
    presigned: Callable[[], list[Seen]]
    objects: Callable[[], dict[str, str]]  # key -> the MD5 of its bytes
    pass_time: Callable[[float], None]  # moves the server's clock
    hide_sums: Callable[[], None]  # from now on ETags are no MD5 sums, as in a bucket that is encrypted by KMS
    _answer: Callable[[Callable[[], Any] | None], None] = field(repr=False)
    _reply: Callable[..., Any] = field(repr=False)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """From now on, presigned requests get this instead of what they ask for."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answer(lambda: self._reply(status, body, named))

    def hang_up(self) -> None:
        """From now on, connections for presigned requests break off."""
        self._answer(lambda: self._reply(0, b"", {}))

    def puts(self) -> list[Seen]:
        """The uploads that came past the viewer."""
        return [one for one in self.presigned() if one.method == "PUT"]


@contextmanager
def s3_bucket(server: S3) -> Iterator[Bucket]:
    """A new bucket behind a gate that checks presigned URLs."""
    name = server.bucket(f"b-{os.urandom(8).hex()}")
    with gated(server) as (proxy, gate):

        def seen() -> list[Seen]:
            found = [one for one in proxy.asked if is_presigned(one)]
            paths = [(one, *one.path.partition("?")[::2]) for one in found]
            return [Seen(one.method, path, query, _lower(one.headers)) for one, path, query in paths]

        def objects() -> dict[str, str]:
            listed = server.client().list_objects_v2(Bucket=name).get("Contents") or []
            return {one["Key"]: one["ETag"].strip('"') for one in listed}

        def answer(make: Callable[[], Any] | None) -> None:
            gate.rule = lambda asked, forward: make() if make and is_presigned(asked) else None

        def reply(status: int, body: bytes, headers: dict[str, str]) -> s3_server.Reply:
            return s3_server.Reply(status, body, tuple(headers.items()), hang_up=not status)

        def pass_time(seconds: float) -> None:
            gate.ahead_s = seconds

        def hide_sums() -> None:
            gate.etag = KMS

        url = server.store_url(name, "some/where", proxy.url)
        yield Bucket(url, server.keys.environ(), seen, objects, pass_time, hide_sums, answer, reply)


@contextmanager
def oss_bucket(server: OssServer, auth: str = "v4") -> Iterator[Bucket]:
    """A new bucket of a server that checks them itself."""
    name = f"b-{os.urandom(8).hex()}"
    bucket, first, now = server.make_bucket(name), len(server.asked), server.now

    def signed(asked: oss_server.Asked) -> bool:
        return not {"x-oss-signature", "Signature"}.isdisjoint(asked.query)

    def seen() -> list[Seen]:
        found = [one for one in server.asked[first:] if signed(one)]
        return [Seen(one.method, one.key, urlencode(one.query), dict(one.headers)) for one in found]

    def objects() -> dict[str, str]:
        return {key: one.etag.lower() for key, one in bucket.objects.items()}

    def answer(make: Callable[[], Any] | None) -> None:
        server.before = lambda asked: make() if make and signed(asked) else None

    def reply(status: int, body: bytes, headers: dict[str, str]) -> oss_server.Reply:
        return oss_server.Reply(status, body, headers, plain=True, hang_up=not status)

    def pass_time(seconds: float) -> None:
        server.now = lambda: now() + seconds

    def hide_sums() -> None:
        server.after = lambda asked, reply: replace(reply, headers={**reply.headers, "ETag": KMS})

    url = f"oss://{name}/some/where?endpoint={server.endpoint}&region={server.region}&auth={auth}"
    environ = {"OSS_ACCESS_KEY_ID": "test-key", "OSS_ACCESS_KEY_SECRET": "test-secret"}
    try:
        yield Bucket(url, environ, seen, objects, pass_time, hide_sums, answer, reply)
    finally:
        server.now, server.before, server.after = now, lambda asked: None, lambda asked, reply: reply


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
