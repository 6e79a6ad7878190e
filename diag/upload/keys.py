"""Where a capture stands in a store: time-ordered keys, so that news is found by listing hours."""

from __future__ import annotations

import re

from diag.model import MANIFEST, moment_of, valid_id, valid_name

__all__ = ["MANIFEST", "key", "moment_of", "parse", "prefix", "valid_id", "valid_name", "valid_tenant"]

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def valid_tenant(text: str) -> bool:
    """Whether this can be a tenant."""
    return bool(_TENANT.fullmatch(text))


def prefix(tenant: str, capture_id: str) -> str:
    """`v1/<tenant>/<yyyy>/<mm>/<dd>/<hh>/<capture_id>/`; derived from the id alone, so no look-up is needed."""
    return f"v1/{tenant}/{moment_of(capture_id):%Y/%m/%d/%H}/{capture_id}/"


def key(tenant: str, capture_id: str, name: str) -> str:
    """The key of one of a capture's objects."""
    return prefix(tenant, capture_id) + name


def parse(text: str) -> tuple[str, str, str] | None:
    """(tenant, capture_id, name) of a well-formed key, or None: keys are data from outside."""
    parts = text.split("/")
    if len(parts) != 8 or parts[0] != "v1":
        return None
    tenant, capture_id, name = parts[1], parts[6], parts[7]
    if not (valid_tenant(tenant) and valid_id(capture_id) and valid_name(name)):
        return None
    return (tenant, capture_id, name) if key(tenant, capture_id, name) == text else None
