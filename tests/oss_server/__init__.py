"""A small OSS server for tests: objects on disk, real signatures, real HTTP. `python -m oss_server FOLDER` runs it."""

from __future__ import annotations

from oss_server.server import Asked, Key, OssServer, Reply, running

__all__ = ["Asked", "Key", "OssServer", "Reply", "running"]
