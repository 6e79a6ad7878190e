"""What a URL `s3://bucket/prefix?endpoint=…&region=…&addressing=path|virtual` says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from diag.errors import BadSetting

HELP = "Write s3://bucket/prefix?endpoint=https://host&region=name&addressing=path; all but the bucket may be left out."
KNOWN = ("endpoint", "region", "addressing")

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the objects stand. `prefix` is empty or ends with `/`; an empty setting is left to the SDK."""

    url: str
    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""
    addressing: str = ""


def parse(url: str) -> Address:
    """The address that a URL names. Raises BadSetting, which repeats nothing that could be a secret."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise BadSetting(
            "The store's URL has credentials in it.", "Keys come from AWS_ACCESS_KEY_ID, ~/.aws or the instance's role."
        )
    if not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise BadSetting("The store's URL names no bucket that can be.", HELP)
    said = _settings(parts.query)
    endpoint, region, addressing = (said.get(name, "") for name in KNOWN)
    if endpoint:
        _check_endpoint(endpoint)
    if region and not _REGION.fullmatch(region):
        raise BadSetting("The store's URL names no region that can be.", HELP)
    if addressing not in ("", "path", "virtual"):
        raise BadSetting("The store's addressing is `path` or `virtual`.", HELP)
    return Address(url.rstrip("/"), parts.netloc, _prefix(parts.path), endpoint.rstrip("/"), region, addressing)


def _settings(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        pairs = [("", "")]
    if any(name not in KNOWN for name, _ in pairs) or len(dict(pairs)) != len(pairs):
        raise BadSetting("The store's URL has a setting that there is not, or one twice.", HELP)
    return dict(pairs)


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadSetting("The store's endpoint has to be http(s)://host[:port] and nothing else.", HELP)


def _prefix(path: str) -> str:
    try:
        prefix = unquote(path, errors="strict").strip("/")
    except UnicodeDecodeError:
        prefix = "\0"
    # Clients and proxies fold `//` and `..` in a path, and a signature over it would not hold.
    if not prefix.isprintable() or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
        raise BadSetting("The store's prefix has a part that cannot stand in a key.", HELP)
    return f"{prefix}/" if prefix else ""
