"""Real stores for the trials, each trial with a corner of its own, and what is in it when all is over."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import viewers
from moving import content, listed
from s3_server import REGION, S3, serving_s3

from durability import sdk

KINDS = ("s3", "oss", "http", "file")
_OSS_KEYS = {"OSS_ACCESS_KEY_ID": "test-key", "OSS_ACCESS_KEY_SECRET": "test-secret"}


class Corner(Protocol):
    """One trial's part of a store."""

    endpoint: str  # http://127.0.0.1:port of the server, empty for a folder
    variables: dict[str, str]  # the keys to it

    def url(self, endpoint: str = "") -> str:
        """Its DIAG_STORE, by way of another endpoint where one is given."""
        ...

    def objects(self) -> dict[str, bytes]:
        """All that is in it, by key."""
        ...

    def clear(self) -> None:
        """Remove it all."""
        ...


class FileCorner:
    """A folder."""

    endpoint = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}

    def url(self, endpoint: str = "") -> str:
        return self.folder.as_uri()

    def objects(self) -> dict[str, bytes]:
        files = [path for path in listed(self.folder, "**/*") if not path.name.startswith(".")]
        return {str(path.relative_to(self.folder)): data for path, data in content(files).items()}

    def clear(self) -> None:
        return  # goes with the trial's folder


class S3Corner:
    """A bucket."""

    def __init__(self, server: S3) -> None:
        self._server = server
        self.endpoint, self.variables = server.url, server.keys.environ()
        self._client = sdk.s3(server.url, self.variables)
        self._bucket = f"b-{secrets.token_hex(8)}"
        self._client.create_bucket(Bucket=self._bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def url(self, endpoint: str = "") -> str:
        return self._server.store_url(self._bucket, endpoint=endpoint)

    def objects(self) -> dict[str, bytes]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        found = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {key: self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read() for key in found}

    def clear(self) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        for key in [one["Key"] for page in pages for one in page.get("Contents", ())]:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        self._client.delete_bucket(Bucket=self._bucket)


class OssCorner:
    """A prefix in a bucket."""

    def __init__(self, said: str) -> None:
        self._parts = urlsplit(said)
        query = dict(one.split("=", 1) for one in self._parts.query.split("&"))
        self.endpoint, self._region = query["endpoint"], query["region"]
        self.variables = dict(_OSS_KEYS)
        self._prefix = f"t-{secrets.token_hex(8)}"
        self._bucket = sdk.oss(self.endpoint, self._parts.netloc, self.variables)

    def url(self, endpoint: str = "") -> str:
        asked = f"endpoint={endpoint or self.endpoint}&region={self._region}"
        return f"oss://{self._parts.netloc}/{self._prefix}?{asked}"

    def objects(self) -> dict[str, bytes]:
        return {key.removeprefix(f"{self._prefix}/"): self._bucket.get_object(key).read() for key in self._keys()}

    def clear(self) -> None:
        for key in self._keys():
            self._bucket.delete_object(key)

    def _keys(self) -> list[str]:
        import oss2

        return [one.key for one in oss2.ObjectIteratorV2(self._bucket, prefix=f"{self._prefix}/")]


class ViewerCorner:
    """A viewer, which the trials of a worker share: what was there before does not count."""

    def __init__(self, viewer: viewers.Running) -> None:
        self.viewer = viewer
        self.endpoint = viewer.url.rstrip("/")
        self.variables: dict[str, str] = {}
        self._files = FileCorner(viewer.store)
        self._before = set(self._files.objects())

    def url(self, endpoint: str = "") -> str:
        return endpoint or self.endpoint

    def objects(self) -> dict[str, bytes]:
        return {key: data for key, data in self._files.objects().items() if key not in self._before}

    def clear(self) -> None:
        for key in self.objects():
            (self.viewer.store / key).unlink()

    def listed(self) -> list[str]:
        """The ids that the viewer lists, newest first, as often as it lists them."""
        rows = self.viewer.get("api/v1/captures?limit=500").json()["captures"]
        return [row["capture_id"] for row in rows]


class Stores:
    """The servers of one campaign."""

    def __init__(self, s3: S3, oss: str, viewer: viewers.Running | None = None) -> None:
        self._s3, self._oss, self._viewer = s3, oss, viewer

    def seen_by(self, viewer: viewers.Running) -> Stores:
        """The same, with a viewer that belongs to one worker alone."""
        return Stores(self._s3, self._oss, viewer)

    def corner(self, kind: str, folder: Path) -> Corner:
        """A new corner of the store of this kind."""
        made: dict[str, Any] = {
            "s3": lambda: S3Corner(self._s3),
            "oss": lambda: OssCorner(self._oss),
            "http": lambda: ViewerCorner(_there(self._viewer)),
            "file": lambda: FileCorner(folder),
        }
        corner: Corner = made[kind]()
        return corner


@contextmanager
def running(folder: Path) -> Iterator[Stores]:
    """An S3 server and an OSS server on the loopback, until the context ends."""
    with serving_s3() as s3, _oss(folder / "oss") as oss:
        yield Stores(s3, oss)


def _there(viewer: viewers.Running | None) -> viewers.Running:
    assert viewer is not None
    return viewer


@contextmanager
def _oss(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "oss_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.kill()
