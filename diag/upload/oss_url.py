"""`oss://bucket/prefix?…`: where a bucket is and how requests to it are signed. Credentials are never part of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from diag.errors import BadSetting

EXAMPLE = "For example: oss://bucket/prefix?region=cn-hangzhou"
PREFIX_LIMIT = 700  # bytes; a key has at most 1023, and a capture's own part takes up to 300 of them
# https://www.alibabacloud.com/help/en/oss/user-guide/bucket-naming-conventions
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_REGION_OF_HOST = re.compile(r"oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")
_TRUE = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_KNOWN = ("endpoint", "region", "internal", "auth", "cname")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and the prefix in it: empty, or ending with `/`. `auth` is `v4` or `v1`."""

    url: str
    bucket: str
    prefix: str
    endpoint: str
    region: str
    auth: str
    cname: bool


def read_url(url: str, environ: Mapping[str, str]) -> Place:
    """What the URL means, with OSS_REGION and OSS_ENDPOINT for what it leaves out. Raises BadSetting."""
    try:
        parts = urlsplit(url)
        named = parts.username is not None or parts.password is not None or parts.port is not None
    except ValueError as error:
        raise BadSetting("The store's URL cannot be used.", EXAMPLE) from error
    if named or "@" in parts.netloc or parts.fragment:
        # Not repeated: what stands before an @ may be a secret.
        raise BadSetting(
            "The store's URL names more than a bucket.",
            "Put the credentials into OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, an endpoint behind ?endpoint=, "
            "and write # as %23.",
        )
    if not _BUCKET.fullmatch(parts.netloc):
        raise BadSetting(f"{parts.netloc!r} can be no bucket.", f"3 to 63 of a-z, 0-9 and -. {EXAMPLE}")
    says = _query(parts)
    region, endpoint = _region_and_endpoint(says, environ)
    auth = says.get("auth", "v4")
    if auth not in ("v1", "v4"):
        raise BadSetting("The store's URL has an unknown auth.", "auth=v4 (the default) or auth=v1.")
    if auth == "v4" and not region:
        raise BadSetting(
            f"The region of bucket {parts.netloc} is not known, and signatures name it.",
            f"Set OSS_REGION, or write it behind the bucket. {EXAMPLE}",
        )
    cname = _flag(says, "cname")
    return Place(url.rstrip("/"), parts.netloc, _prefix(parts.path), endpoint, region, auth, cname)


def _query(parts: SplitResult) -> dict[str, str]:
    said = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in said]
    if not set(names) <= set(_KNOWN) or len(names) != len(set(names)):
        raise BadSetting("The store's URL has parameters that it cannot have.", f"Once each: {', '.join(_KNOWN)}.")
    return {name: value.strip() for name, value in said}


def _region_and_endpoint(says: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, str]:
    region = says.get("region") or environ.get("OSS_REGION", "").strip()
    # `oss-cn-hangzhou` is how consoles and older tools write a region.
    region = region.removeprefix("oss-").removesuffix("-internal")
    if region and not _REGION.fullmatch(region):
        raise BadSetting("The region of the store can be none.", EXAMPLE)
    given = says.get("endpoint") or environ.get("OSS_ENDPOINT", "").strip()
    endpoint = _endpoint(given) if given else ""
    found = _REGION_OF_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    region = region or (found[1] if found else "")
    if not endpoint:
        if not region:
            raise BadSetting("Neither region nor endpoint of the store is known.", f"Set OSS_REGION. {EXAMPLE}")
        internal = "-internal" if _flag(says, "internal") else ""
        return region, f"https://oss-{region}{internal}.aliyuncs.com"
    if _flag(says, "internal") and not (found and found[2]):
        if not found:
            raise BadSetting("internal=1 and an endpoint of its own contradict each other.", "Leave one of them out.")
        endpoint = endpoint.replace(".aliyuncs.com", "-internal.aliyuncs.com")
    return region, endpoint


def _endpoint(text: str) -> str:
    """`scheme://host[:port]`; https where nothing is said."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    usable = port != 0 and parts.scheme in ("http", "https") and _HOST.fullmatch(host)
    if not usable or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadSetting(
            "The endpoint of the store cannot be used.", "For example: endpoint=https://oss-cn-hangzhou.aliyuncs.com"
        )
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _prefix(path: str) -> str:
    """The prefix as keys have it. Raises BadSetting for what OSS or a listing of folders would not keep apart."""
    try:
        prefix = unquote(path, errors="strict").strip("/")
    except UnicodeDecodeError as error:
        raise BadSetting("The prefix of the store is no UTF-8.", EXAMPLE) from error
    if not prefix:
        return ""
    odd = any(part in ("", ".", "..") for part in prefix.split("/")) or not prefix.isprintable()
    if odd or prefix.startswith("\\") or len(prefix.encode()) > PREFIX_LIMIT:
        raise BadSetting(
            "The prefix of the store can be none.",
            f"Names with / between them, without control characters, up to {PREFIX_LIMIT} bytes.",
        )
    return f"{prefix}/"


def _flag(says: Mapping[str, str], name: str) -> bool:
    value = says.get(name, "0").lower()
    if value not in _TRUE:
        raise BadSetting(f"{name} in the store's URL is neither 1 nor 0.", EXAMPLE)
    return _TRUE[value]
