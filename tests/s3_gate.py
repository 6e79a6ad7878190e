"""What S3 does with presigned URLs, and moto does not: signature, age and sums are checked, before it is moto's turn.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from s3_server import S3, Asked, Between, Reply, between, error

Rule = Callable[[Asked, Callable[[], Reply]], Reply | None]


@dataclass(slots=True)
class Gate:
    """A rule for `between`: presigned requests are checked here, all others go on. `rule` comes before it."""

    s3: S3
    rule: Rule = lambda asked, forward: None
    ahead_s: float = 0.0  # the server's clock
    etag: str = ""  # where it is none of ours, as in a bucket that is encrypted by KMS

    def __call__(self, asked: Asked, forward: Callable[[], Reply]) -> Reply | None:
        reply = self.rule(asked, forward)
        return reply if reply or not is_presigned(asked) else self._check(asked) or self._do(asked)

    def _check(self, asked: Asked) -> Reply | None:
        query, headers = _query(asked), _headers(asked)
        began = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if time.time() + self.ahead_s > began + int(query["X-Amz-Expires"]):
            return error(403, "AccessDenied")
        signed = query["X-Amz-SignedHeaders"].split(";")
        if any(name not in signed for name in headers if name.startswith("x-amz-")) or "host" not in signed:
            return error(403, "AccessDenied")
        if not hmac.compare_digest(_signature(self.s3.keys.secret, asked, signed), query["X-Amz-Signature"]):
            return error(403, "SignatureDoesNotMatch")
        sums = {"content-md5": hashlib.md5(asked.body), "x-amz-checksum-sha256": hashlib.sha256(asked.body)}
        if any(headers.get(name, _base64(one)) != _base64(one) for name, one in sums.items()):
            return error(400, "BadDigest")
        return None

    def _do(self, asked: Asked) -> Reply:
        from botocore.exceptions import ClientError

        bucket, _, key = unquote(asked.path.partition("?")[0]).lstrip("/").partition("/")
        query, headers = _query(asked), _headers(asked)
        try:
            if asked.method == "PUT":
                only = {"IfNoneMatch": "*"} if headers.get("if-none-match") == "*" else {}
                known = {"ContentType": headers["content-type"], "Metadata": {"sha256": headers["x-amz-meta-sha256"]}}
                answer = self.s3.client().put_object(Bucket=bucket, Key=key, Body=asked.body, **known, **only)
                return Reply(200, b"", (("ETag", self.etag or answer["ETag"]), ("x-amz-request-id", "1")))
            answer = self.s3.client().get_object(Bucket=bucket, Key=key)
        except ClientError as refused:
            said = refused.response
            return error(said["ResponseMetadata"]["HTTPStatusCode"], said["Error"]["Code"], x_amz_request_id="1")
        named = [(name, query.get(f"response-{name}")) for name in ("content-type", "content-disposition")]
        return Reply(200, answer["Body"].read(), tuple((name, value) for name, value in named if value))


@contextmanager
def gated(s3: S3) -> Iterator[tuple[Between, Gate]]:
    """The server with such a gate before it; `between.asked` is everything that came by."""
    gate = Gate(s3)
    with between(s3.url, gate) as proxy:
        yield proxy, gate


def is_presigned(asked: Asked) -> bool:
    """Whether the signature stands in the URL."""
    return "X-Amz-Signature=" in asked.path


def _signature(secret: str, asked: Asked, signed: list[str]) -> str:
    query, headers = _query(asked), _headers(asked)
    pairs = sorted((quote(name, safe="-_.~"), quote(query[name], safe="-_.~")) for name in query)
    lines = [
        asked.method,
        asked.path.partition("?")[0],
        "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature"),
        "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in signed),
        ";".join(signed),
        "UNSIGNED-PAYLOAD",
    ]
    scope = query["X-Amz-Credential"].split("/")[1:]
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join([query["X-Amz-Algorithm"], query["X-Amz-Date"], "/".join(scope), canonical])
    key = f"AWS4{secret}".encode()
    for part in (*scope, text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _query(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(asked.path.partition("?")[2], keep_blank_values=True))


def _headers(asked: Asked) -> dict[str, str]:
    return {name.lower(): value for name, value in asked.headers.items()}


def _base64(found: Any) -> str:
    return base64.b64encode(found.digest()).decode()
