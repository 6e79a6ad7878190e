"""Takes the parts of an upload away behind the uploader's back, with the SDKs of the stores."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from durability import sdk


def completes(method: str, path: str) -> bool:
    """Whether this request puts the parts of an upload together."""
    return method == "POST" and "uploadId=" in path


def parts(path: str, endpoint: str, variables: Mapping[str, str]) -> None:
    """Abort the upload that this path completes, as a rule for stale uploads would."""
    address = urlsplit(path)
    bucket, _, key = unquote(address.path).lstrip("/").partition("/")
    upload_id = parse_qs(address.query)["uploadId"][0]
    if "AWS_ACCESS_KEY_ID" in variables:
        sdk.s3(endpoint, variables).abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    else:
        sdk.oss(endpoint, bucket, variables).abort_multipart_upload(key, upload_id)
