"""`python -m oss_server FOLDER [--port N] [--bucket B]`: serves until it is killed; credentials from OSS_*."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

from oss_server.server import Key, running


def main() -> None:
    """Print the store's URL, then serve."""
    parser = argparse.ArgumentParser(prog="oss_server", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bucket", default="diag-test")
    parser.add_argument("--region", default="cn-hangzhou")
    said = parser.parse_args()
    key = os.environ.get("OSS_ACCESS_KEY_ID", "test-key")
    secret = os.environ.get("OSS_ACCESS_KEY_SECRET", "test-secret")
    keys = {key: Key(secret, os.environ.get("OSS_SESSION_TOKEN", ""))}
    with running(said.folder, keys, region=said.region, port=said.port) as server:
        server.make_bucket(said.bucket)
        print(f"oss://{said.bucket}?endpoint={server.endpoint}&region={said.region}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
