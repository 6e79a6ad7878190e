"""Requests to a bucket that somebody without keys may make: each for one object, and for some minutes."""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress

from diag.errors import StoreError
from diag.upload.s3_client import Client
from diag.upload.s3_parts import Wanted
from diag.upload.store import SignedRequest


def creates_only(client: Client, name: str) -> bool:
    """Whether the server obeys If-None-Match: an empty object is created twice, once in a client's life.

    A server that takes the header and ignores it would let whoever holds a URL replace what stands there.
    """
    if client.create_only is None:
        name = f"{name}-{secrets.token_hex(8)}"
        client.create("put_object", Key=name, Body=b"")
        if client.create_only is None:
            client.create_only = client.create("put_object", Key=name, Body=b"") is None
        with suppress(StoreError):  # without the right to delete it stays, and holds nothing
            client.ask("delete_object", Key=name)
    return client.create_only


def put(client: Client, wanted: Wanted, md5: str, valid_s: int) -> SignedRequest:
    """What creates the object. Size, sums and type are signed, and so is that nothing is replaced."""
    parameters = {
        "Key": wanted.name,
        "ContentLength": wanted.size_bytes,
        "ContentMD5": wanted.md5_base64(md5),
        "ChecksumSHA256": base64.b64encode(bytes.fromhex(wanted.sha256)).decode(),
        "IfNoneMatch": "*",
        **wanted.headers(),
    }
    headers = {
        "Content-Type": wanted.content_type,
        "Content-MD5": str(parameters["ContentMD5"]),
        "x-amz-checksum-sha256": str(parameters["ChecksumSHA256"]),
        "x-amz-meta-sha256": wanted.sha256,
        "If-None-Match": "*",
    }
    return SignedRequest("PUT", client.sign("put_object", valid_s, **parameters), headers)


def get(client: Client, name: str, content_type: str, valid_s: int) -> SignedRequest:
    """What fetches the object as a file to save."""
    url = client.sign(
        "get_object",
        valid_s,
        Key=name,
        ResponseContentDisposition=f'attachment; filename="{name.rpartition("/")[2]}"',
        ResponseContentType=content_type,
        ResponseCacheControl="no-store",
    )
    return SignedRequest("GET", url)
