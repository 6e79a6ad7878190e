"""The stores there are, by the scheme of their URL."""

from __future__ import annotations

import importlib
from urllib.parse import urlsplit

from diag.errors import BadSetting
from diag.upload.pace import Pace
from diag.upload.store import Store

# Each class takes (url, token, pace), and is imported when it is named: nobody pays for a store that is not used.
STORES = {
    "file": "diag.upload.local:LocalStore",
    "http": "diag.upload.http:HttpStore",
    "https": "diag.upload.http:HttpStore",
    "s3": "diag.upload.s3:S3Store",
    "oss": "diag.upload.oss:OssStore",
}


def open_store(url: str, token: str = "", pace: Pace | None = None) -> Store:
    """The store at this URL; nothing is connected or created yet. Raises BadSetting."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        raise BadSetting(f"The store {url!r} is no URL.", "For example: file:///var/lib/diag or https://viewer.example")
    if scheme.lower() not in STORES:
        known = ", ".join(f"{name}://" for name in STORES)
        raise BadSetting(f"There is no store for {scheme}:// (in {url!r}).", f"Stores: {known}")
    try:
        urlsplit(url)
    except ValueError as error:
        raise BadSetting("The store's URL cannot be used: what stands behind :// is no host.") from error
    module, name = STORES[scheme.lower()].split(":")
    store: Store = getattr(importlib.import_module(module), name)(url, token, pace)
    return store
