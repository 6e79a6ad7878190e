"""The way past the viewer: an object straight into its bucket, by a request that the viewer has signed.

Whatever goes wrong on it, the way through the viewer is left; so nothing here is fatal but a bucket that asks for time.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from diag.errors import BadSetting, StoreUnreachable
from diag.upload.answers import retry_after_s
from diag.upload.http_client import Answer, Client
from diag.upload.pace import Pace
from diag.upload.store import Announced, SignedRequest

CHUNK = 1024 * 1024
LEFT_FOR_S = 600.0
CONNECT_S = 1.0  # a bucket is near or shut off, and the last capture of a container has little more time
ANSWER_LIMIT = 64 * 1024

_HEADER = re.compile(r"content-(type|md5)|if-none-match|x-(amz|oss)-[a-z0-9-]+", re.IGNORECASE)
_REQUEST_IDS = ("x-amz-request-id", "x-oss-request-id")
_TAKEN = (409, 412)
_PASSING = (408, 429, 500, 502, 503, 504, 507)


class Direct:
    """Whether and how objects go past the viewer at `viewer_url`. Its token is not known here."""

    def __init__(self, viewer_url: str, pace: Pace) -> None:
        self._pace = pace
        self._schemes = ("https",) if urlsplit(viewer_url).scheme.lower() == "https" else ("http", "https")
        self._clients: dict[str, Client] = {}
        self._left_until = 0.0
        self.offered = False

    @property
    def is_open(self) -> bool:
        """Whether it is worth asking for."""
        return self.offered and time.monotonic() >= self._left_until

    def leave(self) -> None:
        """Go through the viewer for a while: not each capture is to wait for the same time-out."""
        self._left_until = time.monotonic() + LEFT_FOR_S

    def send(self, offered: Any, file: BinaryIO, announced: Announced) -> bool | None:
        """Whether the bucket has stored the file; None where its answer does not prove it.

        Raises StoreUnreachable where the bucket itself asks to be left alone for some time.
        """
        request = self._read(offered)
        if request is None:
            return False
        host = "{0.scheme}://{0.netloc}".format(urlsplit(request.url))
        client = self._clients.setdefault(host, Client(host, self._pace, CONNECT_S))
        file.seek(0)
        headers = {**request.headers, "Content-Length": str(announced.size_bytes)}
        try:
            answer = client.ask("PUT", request.url, headers, file if announced.size_bytes else b"")
            with client.failing():
                answer.read(ANSWER_LIMIT)
                answer.release_conn()
        except (StoreUnreachable, BadSetting):
            return False
        return _judge(host, answer, announced)

    def _read(self, offered: Any) -> SignedRequest | None:
        """The offered request, where it is one that we would make. It never leads from TLS to plain HTTP."""
        if not isinstance(offered, Mapping) or offered.get("method") != "PUT":
            return None
        url, headers = offered.get("url"), offered.get("headers")
        if not isinstance(url, str) or not isinstance(headers, Mapping) or not (url.isascii() and url.isprintable()):
            return None
        try:
            parts = urlsplit(url)
            usable = parts.scheme in self._schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc or not all(_sendable(*pair) for pair in headers.items()):
            return None
        return SignedRequest("PUT", url, dict(headers))


def measure(file: BinaryIO) -> Announced:
    """The file's size and sums, read a chunk at a time."""
    size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while chunk := file.read(CHUNK):
        size += len(chunk)
        sha256.update(chunk)
        md5.update(chunk)
    return Announced(size, sha256.hexdigest(), md5.hexdigest())


def _judge(host: str, answer: Answer, announced: Announced) -> bool | None:
    """What an answer proves. A page with status 200 has no ETag, or not this one."""
    if answer.status in _PASSING and any(name in answer.headers for name in _REQUEST_IDS):
        busy = StoreUnreachable(f"{host} cannot take anything now ({answer.status}).")
        busy.retry_after_s = retry_after_s(answer.headers.get("Retry-After", ""))
        raise busy
    if answer.status in (200, 201):
        etag = answer.headers.get("ETag", "").strip('"').lower()
        return True if etag == announced.md5 else None  # where the bucket is encrypted by KMS it is no MD5
    return None if answer.status in _TAKEN else False


def _sendable(name: Any, value: Any) -> bool:
    named = isinstance(name, str) and bool(_HEADER.fullmatch(name))
    return named and isinstance(value, str) and value.isascii() and value.isprintable()
