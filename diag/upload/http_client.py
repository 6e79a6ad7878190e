"""urllib3, as the viewer and the buckets behind it are spoken to: no redirects, no second tries, our errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError

from diag import __version__
from diag.errors import BadSetting, StoreUnreachable
from diag.upload.answers import plain
from diag.upload.pace import Pace

CONNECT_S, READ_S = 5.0, 30.0
AT_ONCE = 4
_TLS_HELP = "Check DIAG_STORE; SSL_CERT_FILE names a file with the certificate of a private authority."

Answer = urllib3.BaseHTTPResponse

# At DEBUG it logs the whole address, and that of a presigned request carries its signature.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


class Client:
    """Connections to whatever stands behind one name; `url` is how errors call it."""

    def __init__(self, url: str, pace: Pace, connect_s: float = CONNECT_S) -> None:
        self.url = url
        self._pace = pace
        timeout = urllib3.Timeout(connect=connect_s, read=READ_S)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=AT_ONCE)

    def ask(self, method: str, address: str, headers: Mapping[str, str], body: Any = None) -> Answer:
        """The answer, its body still to be read. Raises StoreUnreachable, BadSetting."""
        with self.failing():
            return self._pool.request(
                method,
                address,
                headers={"User-Agent": f"diag/{__version__}", **headers},
                body=self._pace.body(body),
                redirect=False,  # a redirect would carry the token to wherever it points
                preload_content=False,
            )

    def failing(self) -> _Failing:
        """A context that turns a failed connection into StoreUnreachable."""
        return _Failing(self.url)


class _Failing:
    """Turns a failed connection into StoreUnreachable."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LocationValueError):
            raise BadSetting("The store's URL cannot be used.", "Write http(s)://host[:port].") from error
        if isinstance(error, urllib3.exceptions.SSLError):
            raise StoreUnreachable(f"{self._url}: no trusted TLS connection: {_why(error)}.", _TLS_HELP) from error
        if isinstance(error, HTTPError | OSError):
            raise StoreUnreachable(f"{self._url} does not answer: {_why(error)}.") from error


def _why(error: BaseException) -> str:
    """The innermost cause, in the words of the system."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not known"
    # A refused connection is a subclass of the time-outs, though it is none.
    if not isinstance(error, urllib3.exceptions.NewConnectionError):
        if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            return f"no connection within {CONNECT_S:.0f} seconds"
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return f"nothing came for {READ_S:.0f} seconds"
    cause = error.__cause__ or error.__context__
    if cause is not None:
        return _why(cause)
    return plain(getattr(error, "strerror", None) or error) or type(error).__name__
