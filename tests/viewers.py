"""Real viewers for tests: `diag serve` as a process of its own, on a free port, killed at the end."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from deaths import Made
from machine import TIMEOUT_S

from diag.upload import keys

SAID = b"diag: viewer at "


@dataclass(frozen=True, slots=True)
class Running:
    """A viewer that answers at `url` (ending with `/`) and reads the file store in `store`."""

    url: str
    store: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, token: str = "", **more: object) -> requests.Response:
        """GET, with a bearer token where one is given."""
        return self.ask("GET", path, token, **more)

    def ask(self, method: str, path: str, token: str = "", **more: object) -> requests.Response:
        """A request, on a connection of its own; redirects are answers too."""
        headers = dict(more.pop("headers", {}))  # type: ignore[call-overload]
        if token:
            headers["Authorization"] = f"Bearer {token}"
        usual = {"headers": headers, "timeout": TIMEOUT_S, "allow_redirects": False}
        return requests.request(method, self.url + path.lstrip("/"), **{**usual, **more})  # type: ignore[arg-type]

    def put(self, key: str, data: bytes, token: str = "", sha256: str | None = None) -> requests.Response:
        """Deliver one object."""
        headers = {"X-Diag-Sha256": hashlib.sha256(data).hexdigest() if sha256 is None else sha256}
        return self.ask("PUT", f"api/v1/objects/{key}", token, data=data, headers=headers)

    def deliver(self, made: Made, token: str = "") -> list[int]:
        """Deliver a capture as the uploader does, the manifest last; returns the statuses."""
        files = [*made.files.items(), (keys.MANIFEST, made.manifest)]
        return [self.put(made.key(name), data, token).status_code for name, data in files]


@contextmanager
def running(store: Path, *arguments: str, environ: dict[str, str] | None = None) -> Iterator[Running]:
    """`diag serve` over this store until the context ends."""
    store.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "diag", "serve", "--port", "0", "--store", store.as_uri(), *arguments]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ, **(environ or {})}, start_new_session=True
    ) as process:
        try:
            yield Running(_address(process), store, process)
        finally:
            # The worker is gunicorn's child: its whole group goes, whatever state the test left it in.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT_S)


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said, ends = b"", time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends:
        ready, _, _ = select.select([process.stderr], [], [], 0.5)
        more = os.read(process.stderr.fileno(), 65536) if ready else b""
        said += more
        for line in said.splitlines(keepends=True):
            if line.startswith(SAID) and line.endswith(b"\n"):
                return line.removeprefix(SAID).strip().decode()
        if ready and not more:
            break
    raise AssertionError(f"the viewer did not start: {said.decode(errors='replace')}")
