"""The stores by the SDKs of their makers: the campaign looks behind the product's back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from s3_server import S3, Keys


def s3(endpoint: str, variables: Mapping[str, str]) -> Any:
    """A client of S3."""
    return _s3(endpoint, variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"])


@cache
def _s3(endpoint: str, access: str, secret: str) -> Any:
    return S3(endpoint, Keys(access, secret)).client()  # making one takes a fifth of a second


def oss(endpoint: str, bucket: str, variables: Mapping[str, str]) -> Any:
    """A bucket of OSS."""
    import oss2

    key = oss2.Auth(variables["OSS_ACCESS_KEY_ID"], variables["OSS_ACCESS_KEY_SECRET"])
    return oss2.Bucket(key, endpoint, bucket)
