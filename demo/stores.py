"""Object stores for the demo, on the loopback: the servers that the tests use, which check every signature."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVERS = Path(__file__).parents[1] / "tests"
BUCKET = "diag-demo"


@contextmanager
def object_store(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """The variables that name the store and hold its keys: of `s3`, of `oss`, or none for the local folder."""
    if kind == "":
        yield {}
    elif kind == "s3":
        yield from _s3()
    elif kind == "oss":
        yield from _oss(folder)
    else:
        raise SystemExit(f"STORE={kind} is not known; there are s3 and oss.")


def _s3() -> Iterator[dict[str, str]]:
    sys.path.insert(0, str(SERVERS))
    from s3_server import serving_s3

    with serving_s3() as server:
        url = server.store_url(server.bucket(BUCKET))
        keys = {"AWS_ACCESS_KEY_ID": server.keys.access, "AWS_SECRET_ACCESS_KEY": server.keys.secret}
        yield {"DIAG_STORE": url, **keys}


def _oss(folder: Path) -> Iterator[dict[str, str]]:
    keys = {"OSS_ACCESS_KEY_ID": "demo-key", "OSS_ACCESS_KEY_SECRET": "demo-secret"}
    environment = {**os.environ, **keys, "PYTHONPATH": str(SERVERS)}
    command = [sys.executable, "-m", "oss_server", str(folder / "oss"), "--bucket", BUCKET]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield {"DIAG_STORE": server.stdout.readline().strip(), **keys}
        finally:
            server.kill()
