"""What OSS answers, as what the Store protocol raises: decided by status and code, never by a message.

The codes are those of https://www.alibabacloud.com/help/en/oss/support/http-status-code-403 and its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diag.errors import (
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreHeld,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
)
from diag.model import now
from diag.upload.answers import http_date, plain, retry_after_s
from diag.upload.oss_url import Place

CREDENTIALS = "Set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
_NEW_TOKEN = (
    "Get new temporary credentials, and set all of OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, OSS_SESSION_TOKEN."
)
_WRONG_KEYS = {
    "InvalidAccessKeyId": ("does not know the access key", f"{CREDENTIALS} to a key that is enabled."),
    "SignatureDoesNotMatch": (
        "does not accept the signature",
        f"{CREDENTIALS} to a pair that belongs together, and OSS_REGION to the bucket's region.",
    ),
    "SecurityTokenExpired": ("says that the session token has expired", _NEW_TOKEN),
    "InvalidSecurityToken": ("does not accept the session token", _NEW_TOKEN),
    "AccessKeyIdAndSecurityTokenNotMatch": ("says that key and session token do not belong together", _NEW_TOKEN),
}
_VANISHED = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder")
_NEVER = ("EntityTooLarge", "InvalidObjectName", "KeyTooLong", "MetadataTooLarge")
# InvalidDigest: the body changed on its way. Where the file itself did, the next attempt sees that.
_PASSING = ("RequestTimeout", "InvalidDigest", "IncompleteBody", "Throttling")
_PASSING_STATUS = (408, 425, 429)


class AlreadyThere(StoreConflict):
    """The key exists; with which bytes is not known yet."""


class Vanished(StoreUnreachable):
    """The store has forgotten a multipart upload, or some of its parts."""


class ClockCorrected(StoreUnreachable):
    """The signature was of a wrong time, the next is not; the body is gone, so whoever has the file sends it again."""


class Damaged(StoreUnreachable):
    """The store's checksum of what it has is not that of what was sent."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success; `details` are the elements of its XML, empty where it had none."""

    status: int
    details: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The error's name, such as NoSuchKey."""
        return self.details.get("Code") or ""

    @property
    def request_id(self) -> str:
        """What Alibaba Cloud's support asks for; each answer of OSS has one."""
        return self.headers.get("x-oss-request-id", "")


def explained(place: Place, action: str, refusal: Refusal) -> StoreError:
    """The exception for an answer. `action` is the right that the request needed, such as `oss:PutObject`."""
    if 300 <= refusal.status < 400 or refusal.details.get("Endpoint"):
        return _elsewhere(place, refusal)
    if refusal.status >= 500 or refusal.status in _PASSING_STATUS or refusal.code in _PASSING:
        return _passing(place, refusal)
    if not refusal.request_id and not refusal.code:
        return stranger(place)
    if refusal.status == 404 or refusal.code in _VANISHED:
        return _missing(place, refusal)
    if refusal.code == "RequestTimeTooSkewed":
        return _skewed(place, refusal)
    if refusal.status in (401, 403):
        return _refused(place, action, refusal)
    said = _said(refusal)
    if refusal.code == "FileAlreadyExists":
        return AlreadyThere(f"{place.url} has this object already {said}.")
    if refusal.code == "FileImmutable":
        return StoreHeld(f"{place.url} keeps this object under a retention policy {said}.")
    if refusal.code in _NEVER:
        return StoreRejected(f"{place.url} does not take it {said}.")
    if (refusal.details.get("EC") or "").startswith("0002-"):  # everything about signatures
        return StoreRefused(
            f"{place.url} cannot read the signature for the region {place.region or 'that is not set'} {said}.",
            "Set OSS_REGION (or ?region= in DIAG_STORE) to the bucket's region, for example cn-hangzhou.",
        )
    return StoreError(f"{place.url} answered {said}: {plain(refusal.details.get('Message')) or 'nothing else'}.", "")


def stranger(place: Place) -> StoreUnreachable:
    """Something answered that is not OSS, whatever status it gave itself."""
    return StoreUnreachable(
        f"What answers at {place.endpoint} is not OSS.",
        "Check OSS_ENDPOINT (or ?endpoint= in DIAG_STORE); a proxy or a login page may answer.",
    )


def _said(refusal: Refusal) -> str:
    names = [str(refusal.status), plain(refusal.code), f"request {plain(refusal.request_id) or 'unknown'}"]
    return f"({', '.join(filter(None, names))})"


def _elsewhere(place: Place, refusal: Refusal) -> StoreError:
    endpoint = plain(refusal.details.get("Endpoint"))
    if endpoint:
        return StoreRefused(
            f"The bucket {place.bucket} is not at {place.endpoint} but at {endpoint} {_said(refusal)}.",
            f"Set OSS_ENDPOINT=https://{endpoint} (or ?endpoint= in DIAG_STORE), and OSS_REGION to its region.",
        )
    target = plain(refusal.headers.get("location")) or "nowhere"
    return StoreRefused(
        f"{place.endpoint} redirects to {target}; credentials are not sent there.",
        "Set OSS_ENDPOINT (or ?endpoint= in DIAG_STORE) to the bucket's own endpoint.",
    )


def _passing(place: Place, refusal: Refusal) -> StoreUnreachable:
    error = StoreUnreachable(f"{place.url} cannot take anything now {_said(refusal)}.")
    error.retry_after_s = retry_after_s(refusal.headers.get("retry-after", ""))
    return error


def _missing(place: Place, refusal: Refusal) -> StoreError:
    if refusal.code == "NoSuchBucket":
        return StoreRefused(
            f"There is no bucket {place.bucket} at {place.endpoint} {_said(refusal)}.",
            "Create it, or correct DIAG_STORE.",
        )
    if refusal.code in _VANISHED:
        return Vanished(f"{place.url} has forgotten parts of an upload {_said(refusal)}.")
    return NoSuchObject(f"{place.url} does not have it {_said(refusal)}.")


def _skewed(place: Place, refusal: Refusal) -> StoreRefused:
    theirs = http_date(refusal.headers.get("date", ""))
    if theirs is None:
        by = "too far from"
    else:
        seconds = (now() - theirs).total_seconds()
        by = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
    return StoreRefused(
        f"The clock of this machine is {by} that of {place.endpoint}, which refuses our signatures {_said(refusal)}.",
        "Set the clock, for example with `chronyc makestep`; OSS accepts 15 minutes. Captures wait in the spool.",
    )


def _refused(place: Place, action: str, refusal: Refusal) -> StoreRefused:
    if refusal.code in _WRONG_KEYS:
        what, help_text = _WRONG_KEYS[refusal.code]
        return StoreRefused(f"{place.url} {what} {_said(refusal)}.", help_text)
    if refusal.code in ("AccessDenied", ""):
        where = f"acs:oss:*:*:{place.bucket}/{place.prefix}*"
        return StoreRefused(
            f"{place.url} does not allow {action} to these credentials {_said(refusal)}.",
            f"Grant {action} on {where}, or use other credentials (OSS_ACCESS_KEY_ID).",
        )
    return StoreRefused(
        f"{place.url} refuses {_said(refusal)}: {plain(refusal.details.get('Message')) or 'without a reason'}.",
        "Alibaba Cloud's console says more about this bucket and account.",
    )
