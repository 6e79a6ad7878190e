"""The viewer as a store: its ingest API over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, NoReturn, cast
from urllib.parse import quote, urlencode, urlsplit

from diag.errors import (
    BadSetting,
    NoSuchObject,
    StoreConflict,
    StoreError,
    StoreHeld,
    StoreRefused,
    StoreRejected,
    StoreUnreachable,
)
from diag.upload import keys
from diag.upload.answers import plain, retry_after_s
from diag.upload.http_client import AT_ONCE, Answer, Client
from diag.upload.http_direct import Direct, measure
from diag.upload.pace import Pace
from diag.upload.source import reading
from diag.upload.store import Announced, StoredObject

CHUNK = 256 * 1024
IN_MEMORY = 8 * 1024 * 1024
ANSWER_LIMIT = 16 * 1024 * 1024
PAGE = 1000

DELIVERING = ("agent", "admin")
_REFUSED = (401, 403)
_REJECTED = (400, 411, 413, 422)
# A server in trouble of its own that passes. 500 is not one: the next capture may well go through.
_PASSING = (408, 429, 502, 503, 504, 507)


class HttpStore:
    """The viewer at `http(s)://host[:port][/path]`. Nothing is sent before it has said that it is one."""

    at_once = AT_ONCE
    clock_ahead_s = 0.0  # it asks for a token, and that knows no time

    def __init__(self, url: str, token: str = "", pace: Pace | None = None) -> None:
        parts = urlsplit(url)
        try:
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or parts.username is not None:
            raise BadSetting(
                "The store's URL cannot be used.", "Write http(s)://host[:port], and put the token into DIAG_TOKEN."
            )
        self.url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token:
            if not token.isascii() or not token.isprintable():
                raise BadSetting("The token has characters that cannot be sent.")
            self._headers["Authorization"] = f"Bearer {token}"
        pace = pace or Pace()
        self._client = Client(self.url, pace)
        self._direct = Direct(self.url, pace)
        self._is_viewer = False
        self._tenant = ""

    def put(self, key: str, source: Path, *, size_bytes: int, sha256: str, content_type: str) -> None:
        """Store the file whole or not at all; the viewer verifies it.

        Where it offers that, the bytes go straight into its bucket: see Direct.
        """
        self._meet()
        self._check_tenant(key)
        with reading(source, size_bytes) as file:
            if self._put_directly(key, file, size_bytes, sha256):
                return
            file.seek(0)
            headers = {"Content-Type": content_type, "Content-Length": str(size_bytes), "X-Diag-Sha256": sha256}
            try:
                answer = self._ask("PUT", _object(key), headers=headers, body=file if size_bytes else b"")
            except StoreUnreachable:
                self.check()  # a viewer that refuses a big body may hang up before we can read why
                raise
        self._expect(answer, 200, 201)
        self._read_json(answer)

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, fetched whole."""
        self._meet()
        # A redirect to the bucket would be followed only to find that it cannot be reached from here.
        answer = self._ask("GET", f"{_object(key)}?streamed=1")
        self._expect(answer, 200)
        # Spooled: a manifest stays in memory, a recording goes to disk.
        kept = cast("BinaryIO", SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115 - the caller closes it
        try:
            with self._client.failing():
                for chunk in answer.stream(CHUNK):
                    kept.write(chunk)
        except BaseException:
            kept.close()
            raise
        finally:
            answer.release_conn()
        kept.seek(0)
        return kept

    def stat(self, key: str) -> StoredObject | None:
        """The object's size, or None."""
        self._meet()
        answer = self._ask("HEAD", _object(key))
        answer.drain_conn()
        if answer.status == 404:
            return None
        self._expect(answer, 200)
        size = answer.headers.get("Content-Length", "")
        if not size.isdecimal():
            raise StoreError(f"{self.url} does not say how large {key} is.", "")
        return StoredObject(key, int(size))

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """All objects under the prefix after a key, in key order, a page at a time."""
        following: str | None = start_after
        while following is not None:
            query = {"prefix": prefix, "start_after": following, "limit": str(PAGE)}
            page = self._get(f"objects?{urlencode(query)}")
            last = following
            for found in page.get("objects") or ():
                last = str(found["key"])
                yield StoredObject(last, int(found["size_bytes"]))
            following = page.get("next")
            if following is not None and last <= query["start_after"]:
                raise StoreError(f"{self.url} lists the same objects again and again.", "")

    def folders(self, prefix: str) -> list[str]:
        """The next path parts under a prefix that ends with `/`."""
        page = self._get(f"objects?{urlencode({'prefix': prefix, 'delimiter': '/'})}")
        return sorted(str(folder).removeprefix(prefix) for folder in page.get("folders") or ())

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._meet()
        answer = self._ask("DELETE", _object(key))
        answer.drain_conn() if answer.status == 404 else self._expect(answer, 204, 200)
        answer.release_conn()

    def held(self, keys: Sequence[str]) -> str:
        """What the viewer says of the first that its store has to keep."""
        self._meet()
        for key in keys:
            answer = self._ask("HEAD", f"{_object(key)}?held=1")
            answer.drain_conn()
            if answer.status == 404:
                continue
            self._expect(answer, 200)
            if why := plain(answer.headers.get("X-Diag-Held", "")):
                return why
        return ""

    def check(self) -> None:
        """Raise unless a viewer answers there and this token may deliver to it."""
        role = self._greet()
        if role not in DELIVERING:
            raise StoreRefused(f"{self.url} lets the role {role or 'none'} read, not deliver.")

    def _greet(self) -> str:
        """Make sure that a viewer answers; returns the role that it gives us."""
        answer = self._ask("GET", "whoami")
        if answer.status == 404:
            answer.drain_conn()
            raise self._stranger()
        self._expect(answer, 200)
        who = self._read_json(answer)
        if who.get("app") != "diag":
            raise self._stranger()
        self._tenant = plain(who.get("tenant"))
        self._direct.offered = who.get("uploads") == "presigned"
        self._is_viewer = True
        return plain(who.get("role"))

    def _meet(self) -> None:
        if not self._is_viewer:
            self._greet()

    def _check_tenant(self, key: str) -> None:
        """Wrong for every capture alike, so it must not look as if this one was bad."""
        if self._tenant and not key.startswith(f"v1/{self._tenant}/"):
            raise StoreRefused(
                f"{self.url} keeps the captures of tenant {self._tenant!r}, and this is {key}.",
                f"Set DIAG_TENANT={self._tenant}, or deliver to another viewer.",
            )

    def _put_directly(self, key: str, file: BinaryIO, size_bytes: int, sha256: str) -> bool:
        """Whether the object is in the viewer's bucket now, by a way on which the viewer is only asked."""
        parts = keys.parse(key)
        if not self._direct.is_open or parts is None or parts[2] == keys.MANIFEST:
            return False
        announced = measure(file)
        if (announced.size_bytes, announced.sha256) != (size_bytes, sha256):
            raise StoreRejected(f"The file is not the one of {size_bytes} bytes that was announced for {key}.")
        offer = self._offer(parts[1], parts[2], announced)
        stored = offer.get("stored") is True or self._direct.send(offer.get("request"), file, announced)
        if stored is None:  # the bucket's answer proves nothing; what the viewer finds there does
            stored = self._offer(parts[1], parts[2], announced).get("stored") is True
        if not stored:
            self._direct.leave()
        return stored

    def _offer(self, capture_id: str, name: str, announced: Announced) -> dict[str, Any]:
        """What the viewer says of an artifact: `stored`, or a `request` that stores it. Raises StoreConflict."""
        asked = json.dumps({"artifacts": [{"name": name, **asdict(announced)}]}).encode()
        headers = {"Content-Type": "application/json"}
        answer = self._ask("POST", f"captures/{capture_id}/uploads", headers=headers, body=asked)
        self._expect(answer, 200)
        found = self._read_json(answer).get("uploads")
        first = found[0] if isinstance(found, list) and found else None
        return first if isinstance(first, dict) else {}

    def _get(self, path: str) -> dict[str, Any]:
        self._meet()
        answer = self._ask("GET", path)
        self._expect(answer, 200)
        return self._read_json(answer)

    def _ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        return self._client.ask(method, f"{self.url}/api/v1/{path}", {**self._headers, **(headers or {})}, body)

    def _expect(self, answer: Answer, *wanted: int) -> None:
        if answer.status not in wanted:
            self._refuse(answer)

    def _read_json(self, answer: Answer) -> dict[str, Any]:
        """The answer's object. A page with status 200, as a proxy or a login wall sends it, is no answer."""
        with self._client.failing():
            content = answer.read(ANSWER_LIMIT)
            answer.release_conn()
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._stranger()
        return value

    def _refuse(self, answer: Answer) -> NoReturn:
        sentence, help_text = self._explained(answer)
        status = answer.status
        if 300 <= status < 400:
            target = plain(answer.headers.get("Location", "nowhere"))
            raise StoreError(f"{self.url} redirects to {target}.", "Set DIAG_STORE to the address it redirects to.")
        if status in _REFUSED:
            raise StoreRefused(f"{self.url} refuses: {sentence}", help_text)
        if status == 404:
            raise NoSuchObject(f"{self.url} says: {sentence}", help_text)
        if status == 409:
            raise StoreConflict(f"{self.url} says: {sentence}", help_text)
        if status == 423:
            raise StoreHeld(f"{self.url} says: {sentence}", help_text)
        if status in _REJECTED:
            raise StoreRejected(f"{self.url} does not take it: {sentence}", help_text)
        if status in _PASSING:
            busy = StoreUnreachable(f"{self.url} cannot take anything now: {sentence}", help_text)
            busy.retry_after_s = retry_after_s(answer.headers.get("Retry-After", ""))
            raise busy
        raise StoreError(f"{self.url} answered {status}: {sentence}", help_text)

    def _explained(self, answer: Answer) -> tuple[str, str | None]:
        """The viewer's own sentence and help, or what the status says; the text is from outside."""
        try:
            said = self._read_json(answer)
        except StoreError:
            said = {}
        sentence = plain(said.get("error")) or f"{answer.status} {plain(answer.reason)}".strip() + "."
        return sentence, plain(said.get("help")) or None

    def _stranger(self) -> StoreError:
        return StoreUnreachable(
            f"What answers at {self.url} is not a diag viewer.", "Check DIAG_STORE; a proxy or a login page may answer."
        )


def _object(key: str) -> str:
    return "objects/" + quote(key, safe="/")
