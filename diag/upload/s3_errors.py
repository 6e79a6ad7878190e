"""What an S3 answer means: by code and status, never by message.

The codes are those of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diag.errors import NoSuchObject, StoreConflict, StoreError, StoreRefused, StoreRejected, StoreUnreachable
from diag.model import now
from diag.upload.answers import http_date, plain, retry_after_s
from diag.upload.clock import clock_sentence
from diag.upload.s3_url import Address

CREDENTIALS_HELP = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN too where they are temporary), or AWS_PROFILE, "
    "or give the instance a role."
)
RIGHTS_HELP = (
    "The key needs s3:PutObject and s3:GetObject there; a viewer needs s3:ListBucket too. "
    "`diag prune` needs s3:ListBucket, s3:DeleteObject, s3:GetBucketObjectLockConfiguration, and where the bucket has "
    "Object Lock s3:GetObjectRetention and s3:GetObjectLegalHold."
)
CLOCK_HELP = "Set this machine's clock, and keep it set by NTP; captures wait in the spool."
SKEW_ALLOWED_S = 900  # S3 refuses a signature that is further off

_SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture", "RequestExpired"}
_WRONG_KEYS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "Redirect", "IllegalLocationConstraintException"}
_PASSING = {
    "BadDigest",  # damaged on the way: the file itself was checked before
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_PASSING_STATUS = (408, 429, 500, 502, 503, 504, 507)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error. Header names are in lower case; `region` is the bucket's, where it was told."""

    operation: str
    status: int
    code: str
    message: str
    headers: Mapping[str, str]
    region: str = ""


def explained(refusal: Refusal, address: Address) -> StoreError:
    """The error that this answer means, with what to do."""
    url, code, status = address.url, refusal.code, refusal.status
    named = ", ".join(dict.fromkeys((plain(code), str(status))))  # an answer to HEAD has no code but its status
    said = f"{plain(refusal.message) or 'no reason given'} ({named})."
    region = plain(refusal.headers.get("x-amz-bucket-region") or refusal.region)
    if code in _PASSING or status in _PASSING_STATUS:
        error = StoreUnreachable(f"{url} cannot take anything now: {said}")
        error.retry_after_s = retry_after_s(refusal.headers.get("retry-after", ""))
        return error
    if code == "NoSuchBucket":
        return StoreError(f"{url}: there is no bucket {address.bucket}.", "Create it, or correct DIAG_STORE.")
    if code in _ELSEWHERE or 300 <= status < 400 or (region and code in ("AuthorizationHeaderMalformed", "400")):
        return _elsewhere(refusal, address, region)
    if status in (401, 403) or code in _WRONG_KEYS | _SKEWED or code == "AuthorizationHeaderMalformed":
        return _refused(refusal, url, said)
    if code == "EntityTooLarge" or status == 413:
        return StoreRejected(f"{url} does not take it: {said}")
    if code == "NoSuchKey" or status == 404:
        return NoSuchObject(f"{url} says: {said}")
    if code == "PreconditionFailed" or status == 412:
        return StoreConflict(f"{url} says: {said}")
    return StoreError(f"{url} answered {status} to {refusal.operation}: {said}")


def stranger(address: Address) -> StoreError:
    """What answers does not speak S3, with whatever status."""
    return StoreError(
        f"What answers at {address.url} is not an S3 store.",
        "Check `endpoint` in DIAG_STORE, or AWS_ENDPOINT_URL; a proxy or a login page may answer.",
    )


def _elsewhere(refusal: Refusal, address: Address, region: str) -> StoreError:
    if region:
        return StoreError(
            f"{address.url}: the bucket {address.bucket} is in the region {region}.",
            f"Add region={region} to DIAG_STORE (s3://bucket/prefix?region={region}).",
        )
    target = plain(refusal.headers.get("location")) or "another address"
    return StoreError(
        f"{address.url} redirects to {target}; nothing was sent there.",
        "Set `endpoint` and `region` in DIAG_STORE to where the bucket is.",
    )


def _refused(refusal: Refusal, url: str, said: str) -> StoreRefused:
    skew_s = _clock_skew_s(refusal.headers)
    if refusal.code in _SKEWED or abs(skew_s) > SKEW_ALLOWED_S:
        off = clock_sentence(skew_s) if abs(skew_s) >= 60 else "this machine's clock differs from the store's"
        return StoreRefused(f"{url} refuses: {off} ({plain(refusal.code)}).", CLOCK_HELP)
    if refusal.code in _WRONG_KEYS or refusal.status == 401:
        return StoreRefused(f"{url} does not accept the credentials: {said}", CREDENTIALS_HELP)
    return StoreRefused(f"{url} refuses {refusal.operation}: {said}", RIGHTS_HELP)


def _clock_skew_s(headers: Mapping[str, str]) -> float:
    """How far this machine's clock is ahead of the server's; 0 where the server does not tell."""
    moment = http_date(headers.get("date", ""))
    return (now() - moment).total_seconds() if moment else 0.0
