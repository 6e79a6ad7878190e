"""oss2, as our stores need it: credentials from the environment, no redirects, and its exceptions as ours.

Import it late: oss2 costs a quarter of a second and 46 MB.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import oss2
import oss2.credentials
import oss2.exceptions
import requests

from diag import __version__
from diag.errors import StoreError, StoreRefused, StoreUnreachable
from diag.model import now
from diag.upload.answers import PROXY_HELP, plain
from diag.upload.clock import Clock
from diag.upload.oss_errors import CREDENTIALS, ClockCorrected, Damaged, Refusal, explained, stranger
from diag.upload.oss_url import Place
from diag.upload.pace import Pace

CONNECT_S, READ_S = 5.0, 30.0
BLOCK = 64 * 1024
CONNECTIONS = 32  # captures at once, times the parts of each
_UNSIGNED = (400, 401, 403)  # how a signature is refused
METADATA = "http://100.100.100.200/latest/meta-data/ram/security-credentials/"

# At DEBUG it logs headers, session tokens among them, and at ERROR what is raised as well.
logging.getLogger("oss2").setLevel(logging.CRITICAL)


class Client:
    """One bucket. Calls of `bucket` stand inside `answering`, which raises what the Store protocol says."""

    def __init__(self, place: Place, pace: Pace) -> None:
        self.place, self.clock = place, Clock()
        sign = _SignV1 if place.auth == "v1" else _SignV4
        self.bucket: Any = oss2.Bucket(
            sign(_Chain(), self.clock),
            place.endpoint,
            place.bucket,
            is_cname=place.cname,
            session=_Session(place, self.clock, pace),
            connect_timeout=(CONNECT_S, READ_S),  # handed on to requests, which takes two
            app_name=f"diag/{__version__}",
            region=place.region or None,
        )

    @contextmanager
    def answering(self, action: str) -> Iterator[None]:
        """Turn what oss2 raises into what the Store protocol raises; `action` is the right that is needed."""
        try:
            yield
        except oss2.exceptions.RequestError as error:
            raise self._unreachable(error.exception) from error
        except oss2.exceptions.InconsistentError as error:
            raise Damaged(f"{self.place.url} has other bytes than were sent.") from error
        except oss2.exceptions.ServerError as error:
            raise explained(self.place, action, Refusal(error.status, error.details, error.headers)) from error
        except oss2.exceptions.OssError as error:
            raise StoreError(f"{self.place.url} cannot be asked: {plain(error.body)}.", "") from error
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error) from error
        except (ElementTree.ParseError, RuntimeError, ValueError) as error:  # what oss2 lets through of odd answers
            raise stranger(self.place) from error

    def part(self, number: int, etag: str, size_bytes: int, crc64: int) -> Any:
        """A part as oss2 names it when an upload is completed."""
        return oss2.models.PartInfo(number, etag, size=size_bytes, part_crc=crc64)

    def crc64(self) -> Any:
        """A running CRC-64 as OSS calculates it: call it with bytes, read `.crc`."""
        return oss2.utils.Crc64()

    def _unreachable(self, error: BaseException) -> StoreUnreachable:
        help_text = PROXY_HELP if isinstance(error, requests.exceptions.ProxyError) else None
        return StoreUnreachable(f"{self.place.endpoint} does not answer: {_why(error)}.", help_text)


class _Chain(oss2.credentials.CredentialsProvider):  # type: ignore[misc] # oss2 has no types
    """The usual places, asked for every request: variables, a credentials URI, the instance's RAM role."""

    def __init__(self) -> None:
        self._fetched: dict[str, Any] = {}

    def get_credentials(self) -> Any:
        """The credentials of now. Raises StoreRefused, StoreUnreachable."""
        names = ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN")
        key, secret, token = (os.environ.get(name, "").strip() for name in names)
        if key and secret:
            return oss2.credentials.Credentials(key, secret, token)
        uri, role = (
            os.environ.get(f"ALIBABA_CLOUD_{name}", "").strip() for name in ("CREDENTIALS_URI", "ECS_METADATA")
        )
        if key or secret or not (uri or role):
            raise StoreRefused("There are no credentials for OSS.", f"{CREDENTIALS} in the environment.")
        return self._fetch(uri or METADATA + role)

    def _fetch(self, address: str) -> Any:
        provider = self._fetched.setdefault(address, oss2.credentials.EcsRamRoleCredentialsProvider(address, 1))
        try:
            return provider.get_credentials()
        except oss2.exceptions.ClientError as error:
            raise StoreUnreachable(
                "The credentials for OSS could not be fetched.",
                "Check ALIBABA_CLOUD_CREDENTIALS_URI or ALIBABA_CLOUD_ECS_METADATA, and what answers there.",
            ) from error


class _SignV4(oss2.ProviderAuthV4):  # type: ignore[misc] # oss2 has no types
    """Signatures of version 4, of the store's time where this machine's clock is off. Again, where it is corrected."""

    def __init__(self, credentials: _Chain, clock: Clock) -> None:
        super().__init__(credentials)
        self._clock = clock

    def _sign_request(self, req: Any, bucket_name: str, key: str, in_additional_headers: Any = None) -> None:
        super()._sign_request(req, bucket_name, key, in_additional_headers)
        req.sign_again = partial(self._sign_request, req, bucket_name, key, in_additional_headers)
        if not self._clock.ahead_s:
            return
        # oss2 asks the system's clock itself, so what it has signed is replaced.
        credentials = self.credentials_provider.get_credentials()
        moment = (now() - timedelta(seconds=self._clock.ahead_s)).strftime("%Y%m%dT%H%M%SZ")
        req.headers["x-oss-date"] = moment
        scope = self._ProviderAuthV4__get_scope(moment[:8], req)
        signature = self._ProviderAuthV4__make_signature(req, bucket_name, key, set(), credentials, moment)
        who = f"{credentials.get_access_key_id()}/{scope}"
        req.headers["authorization"] = f"OSS4-HMAC-SHA256 Credential={who}, Signature={signature}"


class _SignV1(oss2.ProviderAuth):  # type: ignore[misc] # oss2 has no types
    """The same for signatures of version 1."""

    def __init__(self, credentials: _Chain, clock: Clock) -> None:
        super().__init__(credentials)
        self._clock = clock

    def _sign_request(self, req: Any, bucket_name: str, key: str) -> None:
        super()._sign_request(req, bucket_name, key)
        req.sign_again = partial(self._sign_request, req, bucket_name, key)
        if not self._clock.ahead_s:
            return
        credentials = self.credentials_provider.get_credentials()
        req.headers["date"] = oss2.utils.http_date((now() - timedelta(seconds=self._clock.ahead_s)).timestamp())
        signature = self._ProviderAuth__make_signature(req, bucket_name, key, credentials)
        req.headers["authorization"] = f"OSS {credentials.get_access_key_id()}:{signature}"

    def _sign_url(self, req: Any, bucket_name: str, key: str, expires: int) -> str:
        return str(super()._sign_url(req, bucket_name, key, expires - round(self._clock.ahead_s)))


class _Connections(requests.Session):
    """Follows no redirect: it would carry the session token to wherever it points.

    What the environment says of proxies and certificates is read once for a host. requests walks through all variables
    for each request, which takes as long as to sign it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _as_signed
        self._settings: dict[str, Any] = {}
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS))

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None

    def merge_environment_settings(self, url: Any, *said: Any) -> Any:
        host = urlsplit(url).netloc
        if host not in self._settings:
            self._settings[host] = super().merge_environment_settings(url, *said)
        return self._settings[host]


class _Adapter(requests.adapters.HTTPAdapter):
    """Reads bodies in larger pieces than urllib3 by itself, which asks for 16 KiB at a time."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more, blocksize=BLOCK)


class _Crc64(oss2.utils.Crc64):  # type: ignore[misc] # oss2 has no types
    """The same sum, whose table is calculated once; oss2 does that for each object, for a quarter of a millisecond."""

    _first = oss2.utils.Crc64()

    def __init__(self, init_crc: int = 0) -> None:
        self.crc64 = self._first.crc64.new()
        self.crc64.crcValue = init_crc
        self.crc64_combineFun = self._first.crc64_combineFun


oss2.utils.Crc64 = _Crc64


class _Session(oss2.Session):  # type: ignore[misc] # oss2 has no types
    """Takes nothing for a success that does not carry OSS's request id, such as a login page with status 200."""

    def __init__(self, place: Place, clock: Clock, pace: Pace) -> None:
        super().__init__()
        self._place, self._clock, self._pace = place, clock, pace
        self.session = _Connections()

    def do_request(self, req: Any, timeout: Any) -> Any:
        req.data = self._pace.body(req.data)
        response = super().do_request(req, timeout)
        if response.status in _UNSIGNED and self._clock.corrected(response.headers.get("date", "")):
            response.response.close()
            if req.data:
                raise ClockCorrected(f"The clock of this machine is not that of {self._place.endpoint}.")
            req.sign_again()
            response = super().do_request(req, timeout)
        if response.status // 100 == 2 and not response.request_id:
            response.response.close()
            raise stranger(self._place)
        if response.status // 100 != 2 or req.method != "GET":
            # Read to its end, which oss2 does not always do: only then is the connection used again.
            _ = response.response.content
        return response


def _as_signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps the request as it is; without this, requests would put a password from ~/.netrc over the signature."""
    return request


def _why(error: BaseException) -> str:
    """The kind of failure in a few words; the text of requests' errors repeats URLs."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS connection cannot be trusted or made (certificate, clock, or a proxy in between)"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {CONNECT_S:.0f} seconds"
    if isinstance(error, requests.exceptions.Timeout):
        return f"nothing came for {READ_S:.0f} seconds"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return plain(found.strerror)
        inner = getattr(found, "reason", None) or next((one for one in found.args if isinstance(one, Exception)), None)
        found = inner if isinstance(inner, BaseException) else found.__cause__ or found.__context__
    return "the connection broke off"
