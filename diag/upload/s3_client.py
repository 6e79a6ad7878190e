"""The S3 API through botocore, the core of boto3: its credential chain, its signatures, our errors."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from diag import __version__
from diag.errors import BadSetting, StoreError, StoreRefused, StoreUnreachable, ToolMissing
from diag.upload.answers import PROXY_HELP, plain
from diag.upload.clock import Clock
from diag.upload.pace import Pace
from diag.upload.s3_errors import CREDENTIALS_HELP, Refusal, explained, stranger
from diag.upload.s3_url import Address

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.response import StreamingBody

CONNECT_S, READ_S = 5, 30
BUFFER = 256 * 1024
CONNECTIONS = 32  # captures at once, times the parts of each
_UNSIGNED = (400, 401, 403)  # how a signature is refused
_SHIFTED = "diag-s3v4"
_PLACE_HELP = "Check `endpoint` and `region` in DIAG_STORE, AWS_ENDPOINT_URL, and AWS_REGION."


class Expected(Exception):
    """An error answer that the caller said it can deal with."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class Client:
    """One bucket. Nothing is imported, looked up or connected before the first question."""

    def __init__(self, address: Address, pace: Pace) -> None:
        if importlib.util.find_spec("botocore") is None:
            raise ToolMissing("The S3 store is not installed: boto3 is missing.", "pip install 'diag[s3]'")
        self.address = address
        self._pace, self._clock = pace, Clock()
        self.create_only: bool | None = None  # whether If-None-Match is obeyed; None until it was tried

    def ask(self, operation: str, *, expecting: tuple[str | int, ...] = (), **parameters: Any) -> dict[str, Any]:
        """The parsed answer to an operation, named as in botocore (`put_object`).

        Raises Expected for an error whose code or status the caller expects, and StoreError for any other.
        """
        with self.failing(operation, expecting):
            call = getattr(self._client, operation)
            answer: dict[str, Any]
            try:
                answer = call(Bucket=self.address.bucket, **parameters)
            except self._client.exceptions.ClientError as error:
                refusal = _refusal(operation, error)
                if refusal.status not in _UNSIGNED or not self._clock.corrected(refusal.headers.get("date", "")):
                    raise
                if hasattr(parameters.get("Body"), "seek"):
                    parameters["Body"].seek(0)
                answer = call(Bucket=self.address.bucket, **parameters)
            return answer

    @property
    def clock_ahead_s(self) -> float:
        """How far this machine's clock is ahead, where that had to be corrected."""
        return self._clock.ahead_s

    def create(
        self, operation: str, *, expecting: tuple[str | int, ...] = (), **parameters: Any
    ) -> dict[str, Any] | None:
        """Ask for what makes an object, unless the key is taken: then None, where the server can tell."""
        if self.create_only is not False:
            try:
                return self.ask(operation, expecting=(412, 501, *expecting), IfNoneMatch="*", **parameters)
            except Expected as error:
                if error.refusal.status not in (412, 501):
                    raise
                self.create_only = error.refusal.status == 412
            if self.create_only:
                return None
            if hasattr(parameters.get("Body"), "seek"):
                parameters["Body"].seek(0)
        return self.ask(operation, expecting=expecting, **parameters)

    def sign(self, operation: str, valid_s: int, **parameters: Any) -> str:
        """The URL of an operation for somebody without credentials."""
        with self.failing(operation):
            parameters = {"Bucket": self.address.bucket, **parameters}
            url: str = self._signing.generate_presigned_url(operation, Params=parameters, ExpiresIn=valid_s)
            return url

    def stream(self, body: StreamingBody) -> BinaryIO:
        """An object's bytes as a file, which fails as stores fail."""
        return cast("BinaryIO", io.BufferedReader(_Streamed(self, body), BUFFER))

    @cached_property
    def _client(self) -> BaseClient:
        return self._create()

    @cached_property
    def _signing(self) -> BaseClient:
        # Of itself botocore signs URLs by version 2 in some regions, which covers no header of ours.
        return self._create(signature_version="s3v4")

    def _create(self, **more: Any) -> BaseClient:
        import botocore.session
        from botocore.config import Config

        address, session = self.address, botocore.session.Session()
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},  # the uploader backs off and tries again
            # Newer checksums are refused by many stores that are not AWS; we send Content-MD5 and compare ourselves.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra=f"diag/{__version__}",
            s3={"addressing_style": address.addressing} if address.addressing else None,
            **more,
        )
        # botocore itself reads AWS_DEFAULT_REGION alone.
        region = address.region or os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        endpoint = address.endpoint or None
        try:
            client = session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)
        except ValueError as error:  # not repeated: an endpoint from the environment may have a password in it
            raise BadSetting("The endpoint or the region of the S3 store cannot be used.", _PLACE_HELP) from error
        events = client.meta.events
        events.register("before-call.s3", _stay)
        events.register_first("choose-signer.s3", self._choose_signer)
        events.register("before-sign.s3", self._tell_time)
        events.register("before-send.s3", self._hold_back)
        # The widest name is called first: before botocore turns what it cannot read into a status 500.
        events.register("before-parse.*.*", self._recognise)
        return client

    def _choose_signer(self, signature_version: Any, **_: Any) -> str | None:
        """Our signer of version 4 where the clock is off; otherwise whatever botocore takes."""
        return _shifted_signers().get(signature_version) if self._clock.ahead_s else None

    def _tell_time(self, request: Any, **_: Any) -> None:
        request.context[_SHIFTED] = self._clock.ahead_s

    def _hold_back(self, request: Any, **_: Any) -> None:
        # Here, because a body is read for its signature before, and that takes nothing from the network.
        request.body = self._pace.body(request.body)

    @contextmanager
    def failing(self, operation: str, expecting: tuple[str | int, ...] = ()) -> Iterator[None]:
        """Turn what botocore raises into what the Store protocol raises."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            refusal = _refusal(operation, error)
            if refusal.code in expecting or refusal.status in expecting:
                raise Expected(refusal) from error
            raise explained(refusal, self.address) from error
        except BotoCoreError as error:
            raise self._failed(error) from error

    def _recognise(self, response_dict: dict[str, Any], **_: Any) -> None:
        """Refuse a page with status 200: botocore takes it for nothing where it is XML, else for a failure of S3's."""
        body = response_dict.get("body")  # an object's own bytes are not read yet
        if response_dict["status_code"] < 300 and isinstance(body, bytes) and body.strip():
            kind = str(response_dict["headers"].get("content-type", ""))
            if kind.lower().startswith("text/html") or not body.lstrip().startswith(b"<"):
                raise stranger(self.address)

    def _failed(self, error: Exception) -> StoreError:
        """What an error before or instead of an answer means."""
        from botocore import exceptions as botocore
        from botocore.parsers import ResponseParserError

        url = self.address.url
        if isinstance(error, ResponseParserError):
            return stranger(self.address)
        if isinstance(error, botocore.SSLError):
            return StoreUnreachable(
                f"{url}: no trusted TLS connection: {_why(error)}.",
                "Check `endpoint` in DIAG_STORE; AWS_CA_BUNDLE names the certificate of a private authority.",
            )
        if isinstance(error, botocore.ProxyConnectionError):
            return StoreUnreachable(f"{url} does not answer: the proxy does not let it through.", PROXY_HELP)
        if isinstance(error, botocore.ConnectTimeoutError):
            return StoreUnreachable(f"{url} does not answer: no connection within {CONNECT_S} seconds.")
        if isinstance(error, botocore.ReadTimeoutError):
            return StoreUnreachable(f"{url} does not answer: nothing came for {READ_S} seconds.")
        if isinstance(error, botocore.ConnectionError | botocore.HTTPClientError | botocore.IncompleteReadError):
            return StoreUnreachable(f"{url} does not answer: {_why(error)}.")
        if isinstance(error, botocore.NoCredentialsError):
            return StoreRefused(f"{url}: there are no credentials.", CREDENTIALS_HELP)
        # Expired single sign-on, a missing profile, a role that cannot be had: the SDK's sentence names which.
        return StoreRefused(f"{url} cannot be used: {plain(error)}", CREDENTIALS_HELP)


class _Streamed(io.RawIOBase):
    """The body of an answer, read as it comes."""

    def __init__(self, client: Client, body: StreamingBody) -> None:
        self._client, self._body = client, body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._client.failing("get_object"):
            chunk = self._body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


@cache
def _shifted_signers() -> dict[str, str]:
    """botocore's signers of version 4 under names of our own, for a clock that is off; its own stay what they are."""
    from botocore import auth

    class Shifted:
        def _modify_request_before_signing(self, request: Any) -> None:
            form = auth.SIGV4_TIMESTAMP
            moment = datetime.strptime(request.context["timestamp"], form)
            request.context["timestamp"] = (moment - timedelta(seconds=request.context[_SHIFTED])).strftime(form)
            super()._modify_request_before_signing(request)  # type: ignore[misc] # of the class beside it

    ours = {"": auth.S3SigV4Auth, "-query": auth.S3SigV4QueryAuth}
    auth.AUTH_TYPE_MAPS.update(
        {_SHIFTED + kind: type("ShiftedAuth", (Shifted, base), {}) for kind, base in ours.items()}
    )
    return {version + kind: _SHIFTED + kind for version in ("v4", "s3v4") for kind in ours}


def _stay(context: dict[str, Any], **_: Any) -> None:
    # botocore would follow a bucket to another region's host by itself. It leaves alone what was redirected before.
    context.setdefault("s3_redirect", {})["redirected"] = True


def _refusal(operation: str, error: Any) -> Refusal:
    said, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    headers = {str(name).lower(): str(value) for name, value in about.get("HTTPHeaders", {}).items()}
    code, message, region = (str(said.get(name) or "") for name in ("Code", "Message", "Region"))
    return Refusal(operation, int(about.get("HTTPStatusCode", 0)), code, message, headers, region)


def _why(error: BaseException) -> str:
    """The innermost cause, in the words of the system; botocore keeps what it caught in `kwargs`."""
    inner = getattr(error, "kwargs", {}).get("error") or getattr(error, "reason", None)
    inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    if inner is not None:
        return _why(inner)
    return plain(getattr(error, "strerror", None) or error) or type(error).__name__
