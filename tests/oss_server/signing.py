"""Signatures of OSS, checked: version 1 and version 4, in the Authorization header and in URLs.

https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from oss_server.problem import Problem

ALGORITHM = "OSS4-HMAC-SHA256"
SKEW_S = 900
LONGEST_S = 604_800
STAMP = "%Y%m%dT%H%M%SZ"
# What of the query a version 1 signature covers.
SUBRESOURCES = frozenset(
    {
        "acl",
        "append",
        "bucketInfo",
        "cname",
        "comp",
        "continuation-token",
        "cors",
        "delete",
        "encryption",
        "lifecycle",
        "live",
        "location",
        "logging",
        "objectMeta",
        "partNumber",
        "policy",
        "position",
        "qos",
        "referer",
        "replication",
        "requestPayment",
        "restore",
        "security-token",
        "sequential",
        "stat",
        "status",
        "style",
        "styleName",
        "symlink",
        "tagging",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "worm",
        "x-oss-process",
        "x-oss-traffic-limit",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "callback",
        "callback-var",
    }
)


@dataclass(frozen=True)
class Key:
    """An access key: its secret, the session token it needs, when that expires, and rights that it lacks."""

    secret: str
    token: str = ""
    expires: float = float("inf")
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Signed:
    """What of a request is signed. Header names are in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def authenticate(request: Signed, keys: Mapping[str, Key], region: str, now: float) -> Key:
    """The access key that has signed the request. Raises Problem."""
    authorization = request.headers.get("authorization", "")
    if authorization.startswith(ALGORITHM + " "):
        return _header_v4(request, authorization.removeprefix(ALGORITHM + " "), keys, region, now)
    if authorization.startswith("OSS "):
        return _header_v1(request, authorization.removeprefix("OSS "), keys, now)
    if authorization:
        raise Problem(400, "InvalidArgument", "Authorization header is invalid.")
    if request.query.get("x-oss-signature-version") == ALGORITHM:
        return _url_v4(request, keys, region, now)
    if "OSSAccessKeyId" in request.query:
        return _url_v1(request, keys, now)
    raise Problem(403, "AccessDenied", "Anonymous access is forbidden for this operation.", {"EC": "0003-00000001"})


def _header_v1(request: Signed, said: str, keys: Mapping[str, Key], now: float) -> Key:
    access_key, _, signature = said.partition(":")
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    try:
        _check_skew(parsedate_to_datetime(date).timestamp(), now)
    except (TypeError, ValueError):
        raise Problem(403, "AccessDenied", "OSS authentication requires a valid Date.") from None
    key = _find(access_key, request.headers.get("x-oss-security-token", ""), keys, now)
    _compare(_signature_v1(key.secret, request, date), signature, access_key)
    return key


def _url_v1(request: Signed, keys: Mapping[str, Key], now: float) -> Key:
    expires = request.query.get("Expires", "")
    if not expires.isdecimal():
        raise Problem(403, "AccessDenied", "Query-string authentication requires Expires.")
    if now > int(expires):
        raise Problem(403, "AccessDenied", "Request has expired.", {"EC": "0002-00000069"})
    key = _find(request.query["OSSAccessKeyId"], request.query.get("security-token", ""), keys, now)
    _compare(_signature_v1(key.secret, request, expires), request.query.get("Signature", ""), "")
    return key


def _signature_v1(secret: str, request: Signed, date: str) -> str:
    headers = sorted((name, value.strip()) for name, value in request.headers.items() if name.startswith("x-oss-"))
    covered = sorted((name, value) for name, value in request.query.items() if name in SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in covered)
    resource = "/" + (f"{request.bucket}/{request.key}" if request.bucket else "") + (f"?{query}" if query else "")
    text = "\n".join(
        [
            request.method,
            request.headers.get("content-md5", ""),
            request.headers.get("content-type", ""),
            date,
            "".join(f"{name}:{value}\n" for name, value in headers) + resource,
        ]
    )
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _header_v4(request: Signed, said: str, keys: Mapping[str, Key], region: str, now: float) -> Key:
    fields = dict(part.strip().partition("=")[::2] for part in said.split(","))
    if not fields.get("Credential") or not fields.get("Signature") or fields.get("AdditionalHeaders") == "":
        raise Problem(400, "InvalidArgument", "Authorization header is invalid.", {"EC": "0002-00000209"})
    if request.headers.get("x-oss-content-sha256") != "UNSIGNED-PAYLOAD":
        raise Problem(400, "InvalidArgument", "Invalid x-oss-content-sha256.", {"EC": "0002-00000222"})
    stamp = request.headers.get("x-oss-date", "")
    _check_skew(_parse_stamp(stamp), now)
    return _check_v4(
        request, fields["Credential"], stamp, fields.get("AdditionalHeaders", ""), fields["Signature"],
        request.headers.get("x-oss-security-token", ""), keys, region, now,
    )  # fmt: skip


def _url_v4(request: Signed, keys: Mapping[str, Key], region: str, now: float) -> Key:
    query = request.query
    stamp, expires = query.get("x-oss-date", ""), query.get("x-oss-expires", "")
    started = _parse_stamp(stamp)
    if not expires.isdecimal() or not 0 < int(expires) <= LONGEST_S:
        raise Problem(400, "InvalidArgument", "x-oss-expires is invalid.", {"EC": "0002-00000232"})
    if started > now + SKEW_S or now > started + int(expires):
        raise Problem(403, "AccessDenied", "Request has expired.", {"EC": "0002-00000235"})
    return _check_v4(
        request, query.get("x-oss-credential", ""), stamp, query.get("x-oss-additional-headers", ""),
        query.get("x-oss-signature", ""), query.get("x-oss-security-token", ""), keys, region, now,
    )  # fmt: skip


def _check_v4(
    request: Signed, credential: str, stamp: str, additional: str, signature: str,
    token: str, keys: Mapping[str, Key], region: str, now: float,
) -> Key:  # fmt: skip
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aliyun_v4_request" or parts[3] != "oss" or parts[1] != stamp[:8]:
        raise Problem(400, "InvalidArgument", "The Credential is invalid.", {"EC": "0002-00000207"})
    if parts[2] != region:
        raise Problem(400, "InvalidArgument", "Invalid signing region.", {"EC": "0002-00000218"})
    key = _find(parts[0], token, keys, now)
    scope = "/".join(parts[1:])
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(_canonical(request, additional)).hexdigest()])
    signing = ("aliyun_v4" + key.secret).encode()
    for part in parts[1:]:
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    _compare(hmac.new(signing, text.encode(), hashlib.sha256).hexdigest(), signature, parts[0])
    return key


def _canonical(request: Signed, additional: str) -> bytes:
    more = [name for name in additional.split(";") if name]
    if more != sorted(more) or any(name != name.lower() or name not in request.headers for name in more):
        raise Problem(400, "InvalidArgument", "AdditionalHeaders is invalid.", {"EC": "0002-00000210"})
    path = "/" + (f"{request.bucket}/{request.key}" if request.bucket else "")
    query = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in request.query.items()
        if name != "x-oss-signature"
    )
    headers = sorted(
        (name, value.strip())
        for name, value in request.headers.items()
        if name in ("content-type", "content-md5", *more) or name.startswith("x-oss-")
    )
    lines = [
        request.method,
        quote(path, safe="/-_.~"),
        "&".join(f"{name}={value}" if value else name for name, value in query),
        "".join(f"{name}:{value}\n" for name, value in headers),
        ";".join(more),
        request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
    ]
    return "\n".join(lines).encode()


def _find(access_key: str, token: str, keys: Mapping[str, Key], now: float) -> Key:
    key = keys.get(access_key)
    if key is None or (key.token and not token):
        message = "The OSS Access Key Id you provided does not exist in our records."
        raise Problem(403, "InvalidAccessKeyId", message, {"OSSAccessKeyId": access_key, "EC": "0002-00000902"})
    if key.token != token:
        raise Problem(403, "InvalidSecurityToken", "The security token you provided is invalid.")
    if now > key.expires:
        raise Problem(403, "SecurityTokenExpired", "The security token you provided has expired.")
    return key


def _compare(wanted: str, given: str, access_key: str) -> None:
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        message = "The request signature we calculated does not match the signature you provided."
        more = {"OSSAccessKeyId": access_key, "SignatureProvided": given, "EC": "0002-00000201"}
        raise Problem(403, "SignatureDoesNotMatch", message, more)


def _parse_stamp(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Problem(403, "AccessDenied", "The time of the request is invalid.", {"EC": "0002-00000505"}) from None


def _check_skew(then: float, now: float) -> None:
    if abs(now - then) > SKEW_S:
        message = "The difference between the request time and the current time is too large."
        more = {"MaxAllowedSkewMilliseconds": str(SKEW_S * 1000), "EC": "0002-00000504"}
        raise Problem(403, "RequestTimeTooSkewed", message, more)
